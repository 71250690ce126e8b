package amtp

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"amesh/internal/ijson"
)

// Attachment names content that the recipient may fetch (AMTP §1.2). Nothing here
// fetches it.
type Attachment struct {
	Filename    string `json:"filename"`
	ContentType string `json:"content_type"`
	Size        int64  `json:"size"` // in bytes
	Hash        string `json:"hash"` // sha256, sha512 or md5, a colon, hex digits
	URL         string `json:"url"`  // http or https
}

func (m *Message) takeAttachments(value []byte) *Error {
	if isNull(value) {
		return nil
	}
	elements, err := ijson.Array(value, MaxDepth)
	if err != nil {
		return unreadable("attachments must be an array of objects: %v", err)
	}
	if len(elements) > MaxAttachments {
		return invalid("more than %d attachments", MaxAttachments)
	}
	if len(elements) == 0 {
		return nil
	}
	for i, e := range elements {
		a, problem := readAttachment(e)
		if problem != nil {
			return unreadable("attachment %d: %s", i, problem.Message)
		}
		m.Attachments = append(m.Attachments, a)
	}
	m.attachments = value
	return nil
}

func readAttachment(value []byte) (Attachment, *Error) {
	var a Attachment
	members, err := ijson.Object(value, MaxDepth)
	if err != nil {
		return a, unreadable("must be an object")
	}
	for _, member := range members {
		var e *Error
		switch member.Name {
		case "filename":
			e = takeText("filename", member.Value, &a.Filename, MaxAttachmentText)
		case "content_type":
			e = takeText("content_type", member.Value, &a.ContentType, MaxAttachmentText)
		case "hash":
			e = takeText("hash", member.Value, &a.Hash, MaxAttachmentText)
		case "url":
			e = takeText("url", member.Value, &a.URL, MaxAttachmentText)
		case "size":
			if a.Size, err = strconv.ParseInt(string(member.Value), 10, 64); err != nil && !isNull(member.Value) {
				e = unreadable("size must be a whole number of bytes")
			}
		}
		if e != nil {
			return a, e
		}
	}
	return a, nil
}

func (a Attachment) check() error {
	switch {
	case a.Filename == "":
		return errors.New("filename is required")
	case a.ContentType == "":
		return errors.New("content_type is required")
	case a.Size < 0:
		return errors.New("size cannot be negative")
	case a.Hash == "":
		return errors.New("hash is required")
	case a.URL == "":
		return errors.New("url is required")
	}
	if u, err := url.Parse(a.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("invalid URL format: %.200s", a.URL)
	}
	if !validHash(a.Hash) {
		return fmt.Errorf("invalid hash format: %.80s", a.Hash)
	}
	return nil
}

func validHash(s string) bool {
	name, digits, _ := strings.Cut(s, ":")
	if name != "sha256" && name != "sha512" && name != "md5" || digits == "" {
		return false
	}
	return strings.Trim(digits, "0123456789abcdefABCDEF") == ""
}
