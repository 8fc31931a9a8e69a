use proptest::prelude::*;

use super::*;

const SITE: &str = "[[site]]\nhost = \"chat.test\"\n";

fn formatted(text: &str) -> String {
    format(&Source { name: "config.toml".into(), text: text.into() }).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[track_caller]
fn becomes(text: &str, expected: &str) {
    let once = formatted(text);
    assert_eq!(once, expected);
    assert_eq!(formatted(&once), once);
}

#[test]
fn keys_comments_and_tables_get_their_places() {
    becomes(
        "\n\n#top  \n\n\n\tdrain=\"5s\"   #why\n  workers   =  2\n[ log ]# l\n level = \"info\"\n\n# a site\n[[ site ]]\n   host=\"chat.test\"\n\n\n# end\n\n\n",
        "#top\n\ndrain = \"5s\" #why\nworkers = 2\n\n[log] # l\nlevel = \"info\"\n\n# a site\n[[site]]\nhost = \"chat.test\"\n\n# end\n",
    );
}

#[test]
fn a_short_array_is_one_line_and_a_long_one_many() {
    becomes(
        &format!("{SITE}clients=[ \"10.0.0.0/8\",\n\n  \"192.0.2.1\" ,]\n"),
        &format!("{SITE}clients = [\"10.0.0.0/8\", \"192.0.2.1\"]\n"),
    );
    let networks: Vec<String> = (0..12).map(|n| format!("\"10.{n}.0.0/16\"")).collect();
    let lines: String = networks.iter().map(|network| format!("    {network},\n")).collect();
    becomes(&format!("{SITE}clients = [{}]\n", networks.join(",")), &format!("{SITE}clients = [\n{lines}]\n"));
}

#[test]
fn a_comment_in_an_array_stays_with_its_value() {
    becomes(
        &format!(
            "{SITE}clients = [ # all of them\n\"10.0.0.0/8\" , # office\n\n\n# the backend\n\t\"192.0.2.1\" # one\n ,  \"192.0.2.2\" # two\n# no more\n]#end\n"
        ),
        &format!(
            "{SITE}clients = [\n    # all of them\n    \"10.0.0.0/8\", # office\n\n    # the backend\n    \"192.0.2.1\", # one\n    \
             \"192.0.2.2\", # two\n    # no more\n] #end\n"
        ),
    );
}

#[test]
fn inline_tables_are_spaced_and_those_with_comments_left_alone() {
    becomes(
        &format!("{SITE}request_headers={{set={{X-A=\"1\",X-B=\"2\"}},remove=[\"A\",\"B\"]}}\n"),
        &format!("{SITE}request_headers = {{ set = {{ X-A = \"1\", X-B = \"2\" }}, remove = [\"A\", \"B\"] }}\n"),
    );
    becomes(
        &format!("{SITE}request_headers = {{\n  set = {{X-A=\"1\"}}, # why\n}}\n"),
        &format!("{SITE}request_headers = {{\n  set = {{X-A=\"1\"}}, # why\n}}\n"),
    );
}

#[test]
fn dotted_keys_and_windows_line_ends_are_put_right() {
    becomes(
        "log . level=\"info\"\r\nlimits.held  = 5\r\n\r\n\r\n[[site]]\r\nhost = \"chat.test\"",
        "log.level = \"info\"\nlimits.held = 5\n\n[[site]]\nhost = \"chat.test\"\n",
    );
}

#[test]
fn the_shipped_example_is_formatted() {
    let text = include_str!("../../../config.example.toml");
    assert_eq!(formatted(text), text);
}

#[test]
fn a_file_with_errors_is_not_touched() {
    for (text, code) in [
        ("a = = 1\n", "toml/syntax"),
        ("drian=1\n", "key/unknown"),
        ("drain=\"soon\"\n", "value/duration"),
        ("[[site]]\nhost=\"\"\n", "value/host"),
    ] {
        let Err(error) = format(&Source { name: "config.toml".into(), text: text.into() }) else { panic!("{text}") };
        assert!(error.to_string().contains(code), "{error}");
    }
}

#[test]
fn a_file_of_conf_d_is_formatted_although_it_lacks_a_site() {
    becomes("drain=\"5s\"\n", "drain = \"5s\"\n");
    becomes(&format!("{SITE}upstream=\"elsewhere\"\n"), &format!("{SITE}upstream = \"elsewhere\"\n"));
}

/// A good configuration with white space and comments wherever TOML lets them be. Every comment has a number.
fn untidy() -> impl Strategy<Value = String> {
    let space = || "[ \t]{0,3}";
    let gap = || prop::collection::vec(prop_oneof![Just("\n"), Just("  \n"), Just("#@\n"), Just("\t# @ x\n")], 0..4);
    let end = || prop_oneof![Just("\n"), Just("  # @\n"), Just("#@ \n")];
    let inside =
        || prop_oneof![3 => Just(String::new()), 1 => Just(" #@\n".to_owned()), 1 => Just("\n\n  # @\n\n".to_owned())];
    let array = (
        prop::collection::vec(("(10\\.[1-9]\\.0\\.0/16|192\\.0\\.2\\.[1-9])", inside(), inside()), 0..9),
        inside(),
        any::<bool>(),
    )
        .prop_map(|(values, last, comma)| {
            let mut text = String::from("[");
            for (index, (value, before, after)) in values.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&format!("{before}\"{value}\"{after}"));
            }
            if comma && !values.is_empty() {
                text.push(',');
            }
            text + &last + "]"
        });
    let top = prop_oneof![
        Just("drain=\"5s\"".to_owned()),
        array.clone().prop_map(|array| format!("trusted_proxies = {array}")),
        Just("log . level=\"info\"".to_owned()),
    ];
    let in_site = prop_oneof![
        array.prop_map(|array| format!("clients={array}")),
        Just("request_headers={set={X-A='1' ,X-B=\"\"\"2\"\"\"},remove=[ \"A\"]}".to_owned()),
        Just("response_headers . set . X-A   = \"1\"".to_owned()),
        Just("body_limit=\"1MiB\"".to_owned()),
    ];
    (
        (gap(), space(), top, space(), end()),
        prop::collection::vec((gap(), space(), end(), gap(), in_site, end()), 1..4),
        gap(),
    )
        .prop_map(|((above, margin, top, after, end), sites, last)| {
            let mut text = format!("{}{margin}{top}{after}{end}", above.concat());
            for (index, (above, space, head_end, between, key, key_end)) in sites.iter().enumerate() {
                let above = above.concat();
                text.push_str(&format!(
                    "{above}{space}[[{space}site{space}]]{head_end}{space}host{space}=\"h{index}.test\"{space}{key_end}{}{key}{key_end}",
                    between.concat()
                ));
            }
            text.push_str(&last.concat());
            let mut number = 0;
            let mut numbered = String::new();
            for c in text.chars() {
                if c == '@' {
                    number += 1;
                    numbered.push_str(&format!("c{number}."));
                } else {
                    numbered.push(c);
                }
            }
            numbered
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn formatting_keeps_every_meaning_and_comment_and_is_done_in_one_go(text in untidy()) {
        let once = formatted(&text);
        prop_assert_eq!(&formatted(&once), &once, "{}", text);
        prop_assert_eq!(once.parse::<toml::Table>().unwrap(), text.parse::<toml::Table>().unwrap());
        // In their order, too.
        let comments = |text: &str| -> Vec<String> {
            text.split('c').filter_map(|part| part.split_once('.')).map(|(number, _)| number.to_owned())
                .filter(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).collect()
        };
        prop_assert_eq!(comments(&once), comments(&text));
        // It was laid out, not given up on.
        prop_assert!(!once.contains('\t') && !once.contains("\n\n\n") && once.lines().all(|line| line.trim_end() == line), "{}", once);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = format(&Source { name: "x".into(), text });
    }
}
