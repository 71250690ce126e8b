"""Fields and layouts of session.md: one right encoding of every value, read and written (§1)."""

import hashlib
import re

YEAR_9999 = 253_402_300_799
CONTROL = re.compile("[\\x00-\\x1f\\x7f]")


class Refused(Exception):
    """Something a node would not take; code is one of §13."""

    def __init__(self, code, why=""):
        super().__init__(f"{code}: {why}" if why else code)
        self.code = code


def require(holds, code, why=""):
    if not holds:
        raise Refused(code, why)


class Reader:
    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, size):
        require(self.at + size <= len(self.data), "malformed", "too short")
        self.at += size
        return self.data[self.at - size : self.at]

    def end(self):
        require(self.at == len(self.data), "malformed", "bytes left over")


class Uint:
    """A number of size bytes between least and most."""

    def __init__(self, size, least=0, most=None):
        self.size, self.least = size, least
        self.most = 256**size - 1 if most is None else most

    def check(self, value):
        require(self.least <= value <= self.most, "malformed", f"{value} is not in {self.least}…{self.most}")
        return value

    def read(self, r):
        return self.check(int.from_bytes(r.take(self.size), "big"))

    def write(self, value):
        return self.check(value).to_bytes(self.size, "big")


class Raw:
    """Exactly size bytes."""

    def __init__(self, size, check=None):
        self.size, self.check = size, check or (lambda value: None)

    def read(self, r):
        value = r.take(self.size)
        self.check(value)
        return value

    def write(self, value):
        require(len(value) == self.size, "malformed", "wrong length")
        self.check(value)
        return bytes(value)


class Blob:
    """Bytes behind their length; sizes, when given, lists the only lengths there are."""

    def __init__(self, prefix, most, sizes=None):
        self.prefix, self.most, self.sizes = prefix, most, sizes

    def _length(self, size):
        require(size <= self.most and (self.sizes is None or size in self.sizes), "malformed", f"length {size}")
        return size

    def read(self, r):
        return r.take(self._length(int.from_bytes(r.take(self.prefix), "big")))

    def write(self, value):
        return self._length(len(value)).to_bytes(self.prefix, "big") + bytes(value)


class Text:
    """UTF-8 without control characters behind its length."""

    def __init__(self, most, least=0, prefix=1, check=None):
        self.blob, self.least, self.check = Blob(prefix, most), least, check or (lambda value: None)

    def _checked(self, value):
        require(not CONTROL.search(value), "malformed", "control character")
        self.check(value)
        return value

    def read(self, r):
        raw = self.blob.read(r)
        require(len(raw) >= self.least, "malformed", "empty text")
        try:
            return self._checked(raw.decode("utf-8"))
        except UnicodeDecodeError:
            raise Refused("malformed", "not UTF-8") from None

    def write(self, value):
        raw = self._checked(value).encode("utf-8")
        require(len(raw) >= self.least, "malformed", "empty text")
        return self.blob.write(raw)


class List:
    """A count and that many items."""

    def __init__(self, item, most, prefix=1):
        self.item, self.count = item, Uint(prefix, most=most)

    def read(self, r):
        return [self.item.read(r) for _ in range(self.count.read(r))]

    def write(self, values):
        return self.count.write(len(values)) + b"".join(self.item.write(v) for v in values)


class Rest:
    """All bytes that are left."""

    def read(self, r):
        return r.take(len(r.data) - r.at)

    def write(self, value):
        return bytes(value)


class Layout:
    """Named fields one after the other; rule sees all of them together."""

    def __init__(self, *fields, rule=None):
        self.fields, self.rule = fields, rule or (lambda value: None)

    def read(self, r):
        value = {name: codec.read(r) for name, codec in self.fields}
        self.rule(value)
        return value

    def write(self, value):
        self.rule(value)
        return b"".join(codec.write(value[name]) for name, codec in self.fields)

    def parse(self, data):
        r = Reader(data)
        value = self.read(r)
        r.end()
        return value


def lp(x, size=4):
    return len(x).to_bytes(size, "big") + x


def u32(n):
    return n.to_bytes(4, "big")


U8, U16, U32, U64 = Uint(1), Uint(2), Uint(4), Uint(8)
SECONDS, MILLIS = Uint(8, most=YEAR_9999), Uint(8, most=YEAR_9999 * 1000 + 999)
ID_16 = Raw(16)
PEER_IDS, RELAYS, ADDRESSES = List(Text(255, 1), 8), List(Text(255, 1), 8), List(Text(100, 1), 16)


def H(x):
    return hashlib.sha256(x).digest()
