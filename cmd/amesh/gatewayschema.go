package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"amesh/gateway/client"

	"github.com/spf13/cobra"
)

const wantsSchema = "the schema's id, such as agntcy:commerce.order.v1"

func (a *app) gatewaySchemaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Register and ask for the schemas of a gateway",
		Long:  "Register, list, change and try the AGNTCY schemas that a gateway checks payloads against.",
		Example: "  amesh gateway schema register agntcy:commerce.order.v1 --file order.json\n" +
			"  amesh gateway schema validate agntcy:commerce.order.v1 --file payload.json",
		Args: verbs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.schemaPutCommand(true), a.schemaPutCommand(false), a.schemaListCommand(), a.schemaGetCommand(), a.schemaDeleteCommand(),
		a.schemaValidateCommand(), a.schemaStatsCommand(), a.schemaNegotiateCommand())
	return cmd
}

// readJSON reads a file, or standard input for "-", that has to be JSON.
func (a *app) readJSON(flag, path string) (json.RawMessage, error) {
	if path == "" {
		return nil, usagef("want %s FILE, or - for standard input", flag)
	}
	var raw []byte
	var err error
	if path == "-" {
		raw, err = io.ReadAll(a.in)
	} else {
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	var any json.RawMessage
	if err := json.Unmarshal(raw, &any); err != nil {
		return nil, usagef("%s %s: %v", flag, path, err).next("it has to be one JSON value")
	}
	return any, nil
}

// schemaPutCommand is register, or update.
func (a *app) schemaPutCommand(register bool) *cobra.Command {
	var file string
	var force bool
	cmd := &cobra.Command{
		Use:   "update ID",
		Short: "Put another definition in the place of a schema's",
		Long: `Replaces a schema's definition, or registers it. A definition that breaks those who use
the old one is refused, with what it breaks; --force has it all the same.`,
		Example: "  amesh gateway schema update agntcy:commerce.order.v1 --file order.json\n" +
			"  amesh gateway schema update agntcy:commerce.order.v1 --file order.json --force",
		Args: oneID(wantsSchema),
	}
	if register {
		cmd.Use, cmd.Short = "register ID", "Register a schema"
		cmd.Long = "Registers a schema, a JSON Schema of 2020-12, under its id. With --force it may be there already."
		cmd.Example = "  amesh gateway schema register agntcy:commerce.order.v1 --file order.json\n" +
			"  amesh gateway schema register agntcy:commerce.order.v2 -f order2.json"
	}
	cmd = a.manage(cmd, func(cmd *cobra.Command, c *client.Client, args []string) error {
		definition, err := a.readJSON("--file", file)
		if err != nil {
			return err
		}
		what, put := "updated", c.ChangeSchema
		if register {
			what, put = "registered", c.AddSchema
		}
		if err := put(cmd.Context(), args[0], definition, force); err != nil {
			return err
		}
		return a.show(map[string]string{"id": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s  %s\n", what, plain(args[0])) })
	})
	cmd.Flags().StringVarP(&file, "file", "f", "", "`FILE` with the definition, - for standard input")
	cmd.Flags().BoolVar(&force, "force", false, "replace what is there, even if that breaks somebody")
	return cmd
}

func (a *app) schemaListCommand() *cobra.Command {
	var pattern string
	cmd := a.manage(&cobra.Command{
		Use:     "list",
		Short:   "List the schemas of a gateway",
		Long:    "Lists the schemas of a gateway, all or those that a pattern fits.",
		Example: "  amesh gateway schema list\n  amesh gateway schema list --pattern 'agntcy:commerce.*'",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		all, err := c.Schemas(cmd.Context(), pattern)
		if err != nil {
			return err
		}
		var ids []string
		for _, s := range all {
			ids = append(ids, s.String())
		}
		return a.show(items(ids), func(w io.Writer) {
			for _, id := range ids {
				fmt.Fprintln(w, plain(id))
			}
			if len(ids) == 0 {
				fmt.Fprintln(w, "no schemas")
			}
		})
	})
	cmd.Flags().StringVar(&pattern, "pattern", "", "`PATTERN` such as agntcy:commerce.*")
	return cmd
}

// showJSON shows a gateway's JSON, indented for people.
func (a *app) showJSON(raw json.RawMessage) error {
	return a.show(raw, func(w io.Writer) {
		var b bytes.Buffer
		if json.Indent(&b, raw, "", "  ") != nil { // it was read as JSON
			b.Reset()
			b.Write(raw)
		}
		fmt.Fprintln(w, plainLines(b.String()))
	})
}

func (a *app) schemaGetCommand() *cobra.Command {
	return a.manage(&cobra.Command{
		Use:     "get ID",
		Short:   "Show a schema",
		Long:    "Shows a schema's definition, and when it was registered and changed.",
		Example: "  amesh gateway schema get agntcy:commerce.order.v1",
		Args:    oneID(wantsSchema),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		s, err := c.Schema(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.showJSON(s)
	})
}

func (a *app) schemaDeleteCommand() *cobra.Command {
	return a.manage(&cobra.Command{
		Use:     "delete ID",
		Short:   "Delete a schema",
		Long:    "Deletes a schema. Messages that name it are treated as those with an unknown schema from then on.",
		Example: "  amesh gateway schema delete agntcy:commerce.order.v1",
		Args:    oneID(wantsSchema),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := c.RemoveSchema(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.show(map[string]string{"id": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "deleted  %s\n", plain(args[0])) })
	})
}

func (a *app) schemaValidateCommand() *cobra.Command {
	var file string
	cmd := a.manage(&cobra.Command{
		Use:     "validate ID",
		Short:   "Check a payload against a schema",
		Long:    "Checks a payload against a schema, as the gateway would on the way. One that is not valid is exit 1.",
		Example: "  amesh gateway schema validate agntcy:commerce.order.v1 --file payload.json",
		Args:    oneID(wantsSchema),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		payload, err := a.readJSON("--file", file)
		if err != nil {
			return err
		}
		v, err := c.Validate(cmd.Context(), args[0], payload)
		if err != nil {
			return err
		}
		if !v.Valid && a.json {
			return &failure{exit: exitFailed, code: "not_valid", message: "the payload is not valid", data: v}
		}
		err = a.show(v, func(w io.Writer) { writeValidity(w, v) })
		if err == nil && !v.Valid {
			err = &failure{exit: exitFailed, code: "not_valid", message: "the payload is not valid"}
		}
		return err
	})
	cmd.Flags().StringVarP(&file, "file", "f", "", "`FILE` with the payload, - for standard input")
	return cmd
}

func writeValidity(w io.Writer, v client.Validity) {
	if v.Valid {
		fmt.Fprintln(w, "valid")
	}
	for _, e := range v.Errors {
		fmt.Fprintf(w, "error    %s  %s%s\n", plain(placeOf(e)), plain(e.Message), inBrackets(e.Code))
	}
	for _, e := range v.Warnings {
		fmt.Fprintf(w, "warning  %s  %s%s\n", plain(placeOf(e)), plain(e.Message), inBrackets(e.Code))
	}
}

// placeOf is where in a payload something is wrong.
func placeOf(e client.Finding) string {
	switch {
	case e.Pointer != "":
		return e.Pointer
	case e.Field != "":
		return e.Field
	}
	return "/"
}

func (a *app) schemaStatsCommand() *cobra.Command {
	return a.manage(&cobra.Command{
		Use:     "stats",
		Short:   "Count the schemas of a gateway",
		Long:    "Counts the schemas of a gateway, by domain and by entity.",
		Example: "  amesh gateway schema stats",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		s, err := c.SchemaStats(cmd.Context())
		if err != nil {
			return err
		}
		return a.showJSON(s)
	})
}

func (a *app) schemaNegotiateCommand() *cobra.Command {
	var recipient string
	cmd := a.manage(&cobra.Command{
		Use:     "negotiate ID",
		Short:   "Ask which version of a schema would be used",
		Long:    "Asks which version of a schema the gateway would judge a payload by whose message names this one.",
		Example: "  amesh gateway schema negotiate agntcy:commerce.order.v3 --recipient crm@example.com",
		Args:    oneID(wantsSchema),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		s, err := c.Negotiate(cmd.Context(), args[0], recipient)
		if err != nil {
			return err
		}
		return a.showJSON(s)
	})
	cmd.Flags().StringVar(&recipient, "recipient", "", "for the agent at `ADDRESS`, and what it supports")
	return cmd
}
