//! Files that an operator owns: made without overwriting, replaced in one step.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

/// Makes a file that everyone may read, and its directory; never half of it, and never over another.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where there is something already.
pub fn create(path: &Path, text: &str) -> io::Result<()> {
    let directory = directory(path);
    make_open(directory)?;
    let (mut file, fresh) = beside(path)?;
    let done = (|| {
        // Whatever the umask says.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // Unlike a rename, a link overwrites nothing.
        fs::hard_link(&fresh, path)
    })();
    let _ = fs::remove_file(&fresh);
    done?;
    File::open(directory)?.sync_all()
}

/// Replaces what a file says and keeps mode and owner; a symbolic link stays one. Readers see the old text or the new one.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = &fs::canonicalize(path)?;
    let old = fs::metadata(path)?;
    let (mut file, fresh) = beside(path)?;
    let done = (|| {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(old.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    })();
    if done.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    done?;
    File::open(directory(path))?.sync_all()
}

/// What is missing of these directories, for everyone to look into like the file: whatever the umask says.
fn make_open(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(directory)?;
    // The path of a relative one ends with an empty part, which is the current directory.
    let made = missing.into_iter().filter(|path| !path.as_os_str().is_empty());
    made.into_iter().try_for_each(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A new file in the same directory, for nobody else to read yet. Hidden, so that `conf.d` does not take it for a fragment.
fn beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
    let fresh = directory(path).join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    // What a process of this number left behind when it was killed.
    let _ = fs::remove_file(&fresh);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    Ok((file, fresh))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_there_is_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("etc/clawgate/config.toml");
        create(&path, "one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(create(&path, "two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(names(path.parent().unwrap()), ["config.toml"]);
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_the_link_to_it() {
        let home = tempfile::tempdir().unwrap();
        let (path, link) = (home.path().join("real.toml"), home.path().join("config.toml"));
        fs::write(&path, "one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.toml", &link).unwrap();
        replace(&link, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(home.path()), ["config.toml", "real.toml"]);
    }
}
