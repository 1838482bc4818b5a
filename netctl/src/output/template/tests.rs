use super::*;
use serde_json::json;

/// What Go gives for the same template and a struct of the same fields.
#[test]
fn templates_give_what_go_gives() {
    let cases = [
        ("{{.Name}}", "web-1"),
        ("{{ .Name }} ", "web-1 "),
        (r"{{.ID}}\t{{.Name}}\n", "4097\tweb-1\n"),
        (r#"{{join .Addresses "\n"}}"#, "10.0.1.11\nfd00:1::11"),
        (r#"{{join .Addresses ", "}}"#, "10.0.1.11, fd00:1::11"),
        ("{{.Addresses}}", "[10.0.1.11 fd00:1::11]"),
        ("{{json .Addresses}}", r#"["10.0.1.11","fd00:1::11"]"#),
        ("{{json .Name}}", r#""web-1""#),
        ("{{json .Html}}", r#""<a&b>""#),
        ("{{json .Packets}}", r#"{"Forward":12,"Reply":10}"#),
        ("{{.Packets.Forward}}", "12"),
        ("{{.Addresses | len}}", "2"),
        ("{{len .Backends}} backends", "2 backends"),
        ("{{index .Addresses 1}}", "fd00:1::11"),
        ("{{(index .Backends 0).Endpoint}}", "web-1"),
        ("{{upper .Name}} {{lower .Service}}", "WEB-1 web"),
        ("{{title .State}}", "Not Ready"),
        ("[{{pad .Name 1 2}}]", "[ web-1  ]"),
        ("[{{pad .Empty 1 2}}]", "[]"),
        ("{{truncate .Name 3}}", "web"),
        ("{{truncate .Name 30}}", "web-1"),
        (r#"{{index (split .Name "-") 0}}"#, "web"),
        (
            r#"{{range .Backends}}{{.Endpoint}}={{.Weight}};{{end}}"#,
            "web-1=1;web-2=0;",
        ),
        (
            r#"{{range $i, $b := .Backends}}{{if $i}},{{end}}{{$b.Endpoint}}{{end}}"#,
            "web-1,web-2",
        ),
        ("{{if .Local}}here{{else}}there{{end}}", "here"),
        (r#"{{if eq .Service "Web"}}yes{{end}}"#, "yes"),
        ("{{if gt .Weight 1}}heavy{{else}}light{{end}}", "heavy"),
        (r#"{{if and .Local (not .Empty)}}x{{end}}"#, "x"),
        ("{{with .LastSample}}{{.Time}}{{else}}never{{end}}", "never"),
        ("{{.LastSample}}", "<no value>"),
        ("{{.LastSample.Time}}", "<no value>"),
        ("{{json .LastSample}}", "null"),
        (
            r#"{{printf "%-8s|%5d|%q" .Name .Weight .ID}}"#,
            r#"web-1   |    5|"4097""#,
        ),
        ("{{println .Name}}", "web-1\n"),
        ("{{/* nothing */}}{{- .Name -}} \n", "web-1"),
        (r#"{{.Name}}{{"\t"}}{{.ID}}"#, "web-1\t4097"),
        ("{{$n := .Name}}{{$n}}", "web-1"),
    ];
    for (template, expected) in cases {
        let template_ = Template::parse(template).unwrap();
        let text = template_.render(&object()).map_err(|e| e.to_string());
        assert_eq!(text.as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn headers_are_the_names_of_the_fields() {
    let cases = [
        (r"{{.ID}}\t{{.Name}}", "ID\tNAME"),
        ("{{.HostInterface}}", "HOST INTERFACE"),
        ("{{.Packets.Forward}}", "FORWARD"),
        (r#"{{join .Addresses ","}}"#, "ADDRESSES"),
        ("{{.Addresses}}", "ADDRESSES"),
        ("{{range .Addresses}}{{.}} {{end}}", "ADDRESSES "),
        ("{{index .Addresses 0}}", "ADDRESSES"),
        ("{{range .Backends}}{{.Endpoint}}{{end}}", "ENDPOINT"),
        ("{{(index .Backends 0).Endpoint}}", "ENDPOINT"),
        ("{{len .Backends}}", "BACKENDS"),
        (
            "{{len .Backends}} {{range .Backends}}{{.Weight}}{{end}} {{len .Addresses}}",
            "BACKENDS WEIGHT ADDRESSES",
        ),
        ("{{.Packets}}", "PACKETS"),
        ("{{json .Packets}} {{.Packets.Reply}}", "PACKETS REPLY"),
        ("{{json .Name}}", "NAME"),
        ("{{lower .Name | title}}", "NAME"),
        ("{{truncate .Name 2}}", "NAME"),
        ("name={{.Name}}", "name=NAME"),
    ];
    for (template, expected) in cases {
        let template_ = Template::parse(template).unwrap();
        let header = template_.header(&object()).map_err(|e| e.to_string());
        assert_eq!(header.as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn a_field_that_does_not_exist_is_named_with_those_that_do() {
    for template in ["{{.Nme}}", "{{json .Nme}}", "{{if .Nme}}{{end}}"] {
        let error = Template::parse(template).unwrap().render(&object());
        let text = error.unwrap_err().to_string();
        assert!(
            text.starts_with("template: no field `Nme`; there are Addresses, "),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_template_is_refused() {
    for template in [
        "{{",
        "{{.ID",
        "{{nosuch .ID}}",
        "{{if .ID}}",
        "{{end}}",
        "{{.ID}}}}{{",
    ] {
        let error = Template::parse(template);
        assert!(matches!(error, Err(TemplateError::Syntax(_))), "{template}");
    }
}

#[test]
fn what_a_value_does_not_allow_is_explained() {
    let cases = [
        (r#"{{join .Name ","}}"#, "join wants a list, not web-1"),
        ("{{upper .Weight}}", "upper wants a string, not 5"),
        (
            "{{truncate .Name -1}}",
            "truncate wants a number from 0 to 4096, not -1",
        ),
        ("{{pad .Name 99999999 1}}", "not 99999999"),
        ("{{.Name.First}}", "only maps and objects have fields"),
        ("{{index .Addresses 7}}", "unable to get 7"),
        ("{{split .Name}}", "split requires exactly 2 argument(s)"),
    ];
    for (template, expected) in cases {
        let error = Template::parse(template).unwrap().render(&object());
        let text = error.unwrap_err().to_string();
        assert!(text.contains(expected), "{template}: {text}");
    }
}

fn object() -> serde_json::Value {
    json!({
        "ID": "4097",
        "Name": "web-1",
        "Service": "Web",
        "State": "not ready",
        "Empty": "",
        "Html": "<a&b>",
        "Weight": 5,
        "Local": true,
        "HostInterface": "nd0",
        "Addresses": ["10.0.1.11", "fd00:1::11"],
        "Packets": {"Forward": 12, "Reply": 10},
        "LastSample": null,
        "Backends": [
            {"Endpoint": "web-1", "Weight": 1},
            {"Endpoint": "web-2", "Weight": 0},
        ],
    })
}
