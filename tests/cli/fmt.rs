//! `clawgate fmt`.

use super::*;

#[test]
fn fmt_formats_the_configuration_and_its_fragments_and_check_only_says_so() {
    let home = Home::with("workers=1\n[[site]]\nhost=\"chat.test\" # ours\n");
    fs::create_dir(home.path("conf.d")).unwrap();
    fs::write(home.path("conf.d/a.toml"), "[log]\nlevel=\"info\"\n").unwrap();
    let before = fs::read_to_string(home.config()).unwrap();
    let checked = home.run(&["fmt", "--check"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    assert_eq!(checked.stdout.matches("would be formatted: ").count(), 2, "{}", checked.stdout);
    assert_eq!(fs::read_to_string(home.config()).unwrap(), before);
    assert_eq!(home.run(&["fmt"]).code, Some(0));
    assert!(
        fs::read_to_string(home.config()).unwrap().ends_with("workers = 1\n\n[[site]]\nhost = \"chat.test\" # ours\n")
    );
    assert_eq!(fs::read_to_string(home.path("conf.d/a.toml")).unwrap(), "[log]\nlevel = \"info\"\n");
    let again = home.run(&["fmt", "--check"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""));
}

#[test]
fn fmt_touches_no_file_when_one_has_errors() {
    let home = Home::with("workers=1\n[[site]]\nhost=\"chat.test\"\n");
    fs::create_dir(home.path("conf.d")).unwrap();
    fs::write(home.path("conf.d/a.toml"), "[log]\nlevle=\"info\"\n").unwrap();
    let before = fs::read_to_string(home.config()).unwrap();
    let ran = home.run(&["fmt"]);
    assert_eq!(ran.code, Some(78));
    assert!(ran.stderr.contains("error[key/unknown]") && ran.stderr.contains("conf.d/a.toml:2:1"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(home.config()).unwrap(), before);
}

#[test]
fn fmt_refuses_what_is_good_toml_and_means_nothing_and_leaves_the_world_to_the_check() {
    let home = Home::with("");
    // Good TOML, and each wrong: a value, a type, a table, two keys of which one can be there.
    for wrong in [
        "drain = \"soon\"\n[[site]]\nhost = \"chat.test\"\n",
        "[[site]]\nhost = 7\n",
        "[site]\nhost = \"chat.test\"\n",
        "[[site]]\nhost = \"chat.test\"\nhosts = [\"chat.test\"]\n",
    ] {
        home.write(wrong);
        let before = fs::read_to_string(home.config()).unwrap();
        let ran = home.run(&["fmt"]);
        assert_eq!(ran.code, Some(78), "{wrong}: {}", ran.stdout);
        assert!(ran.stderr.starts_with("error["), "{}", ran.stderr);
        assert_eq!(fs::read_to_string(home.config()).unwrap(), before, "{wrong}");
    }
    // What another file has, and what stands outside of all of them, is not asked for.
    home.write(
        "[[site]]\nhost=\"chat.test\"\nupstream=\"elsewhere\"\ncertificate=\"/no/chain.pem\"\nkey=\"/no/key.pem\"\n",
    );
    let ran = home.run(&["fmt"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let text = fs::read_to_string(home.config()).unwrap();
    assert!(
        text.ends_with("upstream = \"elsewhere\"\ncertificate = \"/no/chain.pem\"\nkey = \"/no/key.pem\"\n"),
        "{text}"
    );
    assert_eq!(home.run(&["check", "--only", "config"]).code, Some(78));
}
