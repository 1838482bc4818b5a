use super::*;
use api::{Network, NetworkDetail};

use crate::noun::network::describe;

#[test]
fn a_list_is_a_table_unless_told_otherwise() {
    let expected = "ID     NAME   SUBNETS       INTERNAL   MTU    ENDPOINTS   SERVICES\n\
                    4097   app    10.0.1.0/24   no         1450   3           1\n";
    assert_eq!(shown(None, &[Network::example()]), expected);
    assert_eq!(shown(Some("table"), &[Network::example()]), expected);
}

#[test]
fn an_empty_list_is_a_header_for_people_and_nothing_for_programs() {
    assert!(shown(None, &[]).starts_with("ID   NAME"));
    assert_eq!(shown(Some("json"), &[]), "");
    assert_eq!(shown(Some("{{.ID}}"), &[]), "");
    assert_eq!(shown(Some("table {{.ID}}"), &[]), "ID\n");
}

#[test]
fn json_is_one_object_a_line_in_the_order_of_the_api() {
    let two = [Network::example(), Network::example()];
    let line = concat!(
        r#"{"ID":"4097","Name":"app","Vni":4097,"Subnets":["10.0.1.0/24"],"#,
        r#""Gateways":["10.0.1.1"],"Internal":false,"Mtu":1450,"SocketLb":true,"#,
        r#""Endpoints":3,"Services":1}"#,
    );
    let expected = format!("{line}\n{line}\n");
    assert_eq!(shown(Some("json"), &two), expected);
    assert_eq!(shown(Some("{{json .}}"), &two), expected);
    assert_eq!(shown(Some("{{ json . }}"), &two), expected);
}

#[test]
fn a_template_makes_a_line_of_each_object() {
    let two = [Network::example(), Network::example()];
    assert_eq!(
        shown(Some("{{.Name}} {{.Vni}}"), &two),
        "app 4097\napp 4097\n"
    );
}

#[test]
fn a_template_table_has_header_and_columns() {
    let text = shown(
        Some(r#"table {{.ID}}\t{{.Name}}\t{{join .Subnets " "}}"#),
        &[Network::example()],
    );
    assert_eq!(text, "ID     NAME   SUBNETS\n4097   app    10.0.1.0/24\n");
}

#[test]
fn quiet_shows_what_inspect_takes() {
    let style = Style {
        quiet: true,
        ..style(None)
    };
    let mut out = Vec::new();
    Listing::new(&style)
        .show(&[Network::example()], &mut out)
        .unwrap();
    assert_eq!(out, b"4097\n");
}

#[test]
fn a_listing_that_goes_on_has_one_header() {
    for format in [None, Some("table {{.ID}}")] {
        let style = style(format);
        let mut listing = Listing::new(&style);
        let mut out = Vec::new();
        listing.show::<Network>(&[], &mut out).unwrap();
        listing.show(&[Network::example()], &mut out).unwrap();
        listing.show(&[Network::example()], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            (text.lines().count(), text.matches("ID").count()),
            (3, 1),
            "{text}"
        );
    }
}

#[test]
fn inspect_gives_one_array_or_one_block_each() {
    let two = [NetworkDetail::example(), NetworkDetail::example()];
    let json: serde_json::Value = serde_json::from_str(&inspected(Some("json"), &two)).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(2));
    assert_eq!(json[0]["EndpointList"][0], "web-1");
    assert_eq!(inspected(Some("json"), &[]), "[]\n");

    let text = inspected(None, &two);
    assert_eq!(text.matches("Name:        app\n").count(), 2, "{text}");
    assert_eq!(text.matches("\n\nID:").count(), 1, "{text}");
    assert_eq!(inspected(None, &[]), "");
    assert_eq!(inspected(Some("{{.Name}}"), &two), "app\napp\n");
}

#[test]
fn a_single_object_is_no_array() {
    let mut out = Vec::new();
    let format = Format::parse(Some("json")).unwrap();
    single(&NetworkDetail::example(), &format, describe, &mut out).unwrap();
    assert_eq!(out[0], b'{');
}

fn style(format: Option<&str>) -> Style {
    Style {
        format: Format::parse(format).unwrap(),
        quiet: false,
        width: Width::Short,
    }
}

fn shown(format: Option<&str>, rows: &[Network]) -> String {
    let mut out = Vec::new();
    Listing::new(&style(format)).show(rows, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn inspected(format: Option<&str>, objects: &[NetworkDetail]) -> String {
    let mut out = Vec::new();
    let format = Format::parse(format).unwrap();
    inspect(objects, &format, describe, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}
