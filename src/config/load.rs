//! Files -> sources: the main file, then `conf.d/*.toml` beside it in name order.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Loaded,
    finding::{Code, Finding, Findings, Location, Report, Source},
    interpolate::Secrets,
    parse,
};
use crate::cause;

/// Reads and parses the configuration at `path` and in the `conf.d` beside it.
///
/// # Errors
/// All findings, warnings too, when one of them is an error. Files that cannot be read are reported together with
/// what is wrong in the others.
pub fn load(path: &Path, secrets: &dyn Secrets) -> Result<Loaded, Findings> {
    let (sources, unreadable) = read_sources(path);
    if unreadable.is_empty() {
        return parse(&sources, secrets);
    }
    let rest = match parse(&sources, secrets) {
        // Without all files, what is missing is not known to be missing.
        Ok(loaded) => loaded.warnings,
        Err(Findings(findings)) => findings.into_iter().filter(|finding| !is_about_absence(finding.code)).collect(),
    };
    Err(Findings(unreadable.into_iter().chain(rest).collect()))
}

/// What a file may lack because others have it.
pub(super) fn is_about_absence(code: Code) -> bool {
    matches!(code, Code::SiteMissing | Code::SiteUnknownUpstream | Code::RouteUnknownUpstream | Code::UpstreamUnused)
}

/// The main file and those of the `conf.d` beside it, as they are read.
///
/// # Errors
/// When there is a `conf.d` that cannot be listed.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let found = fragments(&path.parent().unwrap_or(Path::new("")).join("conf.d"))?;
    Ok(std::iter::once(path.to_owned()).chain(found).collect())
}

fn read_sources(path: &Path) -> (Vec<Source>, Vec<Finding>) {
    let (mut sources, mut findings) = (Vec::new(), Vec::new());
    let conf_d = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let mut paths = vec![path.to_owned()];
    match fragments(&conf_d) {
        Ok(found) => paths.extend(found),
        Err(error) => findings.push(unreadable(&conf_d, &error)),
    }
    for path in paths {
        match source(&path) {
            Ok(source) => sources.push(source),
            Err(Findings(found)) => findings.extend(found),
        }
    }
    (sources, findings)
}

/// One file, as it is read.
///
/// # Errors
/// Why it cannot be.
pub fn source(path: &Path) -> Result<Source, Findings> {
    let bytes = fs::read(path).map_err(|error| Findings(vec![unreadable(path, &error)]))?;
    let text = String::from_utf8(bytes).map_err(|error| Findings(vec![not_utf8(path, &error)]))?;
    Ok(Source { name: path.display().to_string(), text })
}

/// The `*.toml` of `conf.d` in name order; none where there is no such directory. Hidden files are an editor's.
fn fragments(conf_d: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(conf_d) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    let way_out = match error.kind() {
        io::ErrorKind::NotFound => "`clawgate init HOST` makes one, --config PATH names another",
        io::ErrorKind::PermissionDenied => "`sudo clawgate check` may read it, and says whether the service's user may",
        _ => "mend it, or name another with --config PATH",
    };
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied => Code::FileDenied,
        _ => Code::FileUnreadable,
    };
    Finding {
        code,
        message: format!("cannot be read: {}", cause::plain(error)),
        location: Location { file: path.display().to_string(), spot: None },
        way_out: way_out.into(),
        also: Vec::new(),
    }
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> Finding {
    let at = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    // Everything before is valid, so the offset is the same in the replaced text.
    let place = super::finding::Place { source: 0, start: at, end: at + 1 };
    let sources = [Source { name: path.display().to_string(), text }];
    let mut report = Report::new(&sources);
    report.add(Code::FileNotUtf8, place, "the file is not UTF-8 text", "save it as UTF-8");
    report.finish().remove(0)
}
