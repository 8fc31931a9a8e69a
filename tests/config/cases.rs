//! Every finding has a case that says it word for word.

use super::*;

/// A case is `NAME.toml`, or a directory `NAME` with `config.toml` and `conf.d`; what it prints is `NAME.txt`.
fn case_sources(path: &Path) -> Vec<Source> {
    if path.is_file() {
        return vec![source(&fs::read_to_string(path).expect("a case"))];
    }
    let read = |file: &Path| {
        let name = file.strip_prefix(path).expect("inside").display().to_string();
        Source { name, text: fs::read_to_string(file).expect("a case") }
    };
    let entries = fs::read_dir(path.join("conf.d")).expect("conf.d");
    let mut fragments: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    fragments.sort();
    std::iter::once(read(&path.join("config.toml"))).chain(fragments.iter().map(|file| read(file))).collect()
}

#[test]
fn every_case_prints_its_exact_text() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_cases");
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut cases: Vec<PathBuf> =
        fs::read_dir(&directory).expect("the cases").map(|e| e.expect("a case").path()).collect();
    cases.retain(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "toml"));
    cases.sort();
    let mut wrong = String::new();
    for case in &cases {
        let printed = match config::parse(&case_sources(case), &secrets()) {
            Ok(loaded) => config::Findings(loaded.warnings).to_string(),
            Err(findings) => findings.to_string(),
        };
        let expected = case.with_extension("txt");
        if update {
            fs::write(&expected, &printed).expect("write");
        } else if fs::read_to_string(&expected).unwrap_or_default() != printed {
            wrong += &format!("{}:\n{printed}\n", case.display());
        }
    }
    assert!(wrong.is_empty(), "UPDATE_CASES=1 writes these if they are right:\n{wrong}");
}

#[test]
fn every_code_has_a_case_and_is_in_the_reference() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_cases");
    let printed: String = fs::read_dir(directory)
        .expect("the cases")
        .map(|entry| entry.expect("a case").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| fs::read_to_string(path).expect("a case"))
        .collect();
    // These need files: `load` below has two of them, tests/cli.rs and tests/system the others.
    let needs_files = [
        Code::FileUnreadable,
        Code::FileDenied,
        Code::FileServiceDenied,
        Code::FileNotUtf8,
        Code::IdentityUnfenced,
        Code::CertificateUnusable,
        Code::CertificateUnknownHere,
        Code::CertificateExpired,
        Code::CertificateNotYetValid,
        Code::CertificateOtherNames,
        Code::CertificateWithoutChain,
        Code::SandboxNeedsRestart,
    ];
    for code in Code::ALL {
        assert!(needs_files.contains(code) || printed.contains(&format!("[{code}]")), "no case prints {code}");
        let row = format!("| `{code}` | {} | {} |", code.severity(), code.page());
        assert!(REFERENCE.contains(&row), "docs/CONFIG.md lacks {row}");
    }
}
