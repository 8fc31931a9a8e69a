//! What is printed to be typed can be typed.

use super::*;

/// Commands of ours as they stand in a line: at its beginning, or between backticks.
fn commands_of(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches("-> ");
    // Behind a label, as the hints of `status` have it.
    let line =
        line.split_once("  ").map_or(line, |(first, rest)| if first.ends_with('?') { rest.trim() } else { line });
    let begins = line.split(['#', ';']).next().unwrap_or_default().trim();
    let quoted = line.split('`').skip(1).step_by(2);
    let ours = |text: &&str| {
        let words = text.trim_start_matches("sudo ").strip_prefix("clawgate ");
        let next = words.and_then(|words| words.split([' ', ':']).next());
        next.is_some_and(|next| ["--config", "hash-password"].contains(&next) || READS_CONFIG.contains(&next))
    };
    quoted.chain([begins]).filter(ours).map(|text| text.trim_start_matches("sudo ").to_owned()).collect()
}

/// Whether the command line takes all of it: what it complains of is the word that was put behind.
fn can_be_typed(command: &str) -> bool {
    let command = command.replace("ADDRESS", "192.0.2.1").replace("TIME", "1h");
    let mut words: Vec<&str> = command.split(' ').skip(1).map(|word| word.trim_matches('\'')).collect();
    words.push("--no-such-word");
    let ran = clawgate(&words);
    ran.code == Some(2) && ran.stderr.contains("'--no-such-word' found")
}

#[test]
fn every_command_of_ours_that_is_printed_can_be_typed_and_names_the_configuration() {
    let home = Home::with(&format!("{GOOD}[upstream.spare]\naddress = \"127.0.0.1:18790\"\n"));
    let config = home.config();
    let mut texts = Vec::new();
    let mut heard = |ran: Ran| texts.push(ran.stdout + &ran.stderr);
    for command in ["status", "pin", "allow", "top", "metrics", "certs"] {
        heard(home.run(&[command]));
    }
    heard(home.run(&["check", "--only", "config,state,ports"]));
    heard(home.run(&["check", "--only", "ports", "--json"]));
    heard(home.run(&["explain"]));
    for word in ["misdirected", "ports/in-use", "78", "1008", "503", "no-such-code", "dns/no-a-record"] {
        heard(home.run(&["explain", word]));
    }
    heard(home.run(&["explain", "--from", "203.0.113.9", "--host", "other.test", "/"]));
    heard(home.run(&["explain", "--from", "198.51.100.7", "/"]));
    heard(home.run(&["explain", "/"]));
    fs::remove_file(&config).unwrap();
    heard(home.run(&["check"]));
    heard(home.run(&["init", "chat.example.com"]));
    heard(Ran { code: None, stdout: fs::read_to_string(&config).unwrap(), stderr: String::new() });
    let named = format!(" --config {} ", config.display());
    let mut seen = 0;
    for text in texts {
        for command in text.lines().flat_map(commands_of) {
            assert!(command.contains(&named) || command.starts_with("clawgate hash-password"), "{command}\n{text}");
            assert!(can_be_typed(&command), "{command}\n{text}");
            seen += 1;
        }
        assert!(!text.contains("clawgate --check") && !text.contains("clawgate check "), "{text}");
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn beside_the_default_configuration_commands_are_as_short_as_they_can_be() {
    let ran = clawgate(&["explain", "78"]);
    assert!(ran.stdout.contains("`clawgate --check` lists every error"), "{}", ran.stdout);
    let elsewhere = clawgate(&["--config", "/x/y.toml", "explain", "78"]);
    assert!(elsewhere.stdout.contains("`clawgate --config /x/y.toml --check` lists"), "{}", elsewhere.stdout);
    // For programs: what is no text for an operator stays as it is.
    let script = |args: &[&str]| clawgate(&[args, &["generate", "completions", "bash"]].concat()).stdout;
    assert_eq!(script(&["--config", "/x/y.toml"]), script(&[]));
}

#[test]
fn the_hints_of_a_service_that_does_not_run_stand_in_one_column() {
    let home = Home::good();
    let ran = home.run(&["status"]);
    let hints: Vec<&str> = ran.stderr.lines().filter(|line| line.contains('?')).collect();
    let column = |line: &&str| line.find("? ").map(|at| at + line[at + 1..].len() - line[at + 1..].trim_start().len());
    assert_eq!(hints.len(), 3, "{}", ran.stderr);
    assert!(hints.iter().all(|line| column(line) == column(&hints[0])), "{}", ran.stderr);
}
