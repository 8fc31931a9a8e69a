//! Files that are whole or not there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::StoreError;

/// The steps of a change, for tests that stop between them.
#[derive(Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) steps_left: std::cell::Cell<Option<usize>>,
}

impl Disk {
    /// Where a crash may happen.
    fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(left) = self.steps_left.get() {
            let left = left.checked_sub(1).ok_or(io::Error::other("crashed"))?;
            self.steps_left.set(Some(left));
        }
        Ok(())
    }

    /// Replaces `path` whole: whoever reads it, and whenever the power fails, finds the old text or the new one.
    pub(super) fn replace(&self, path: &Path, text: &[u8]) -> Result<(), StoreError> {
        let staged = beside(path);
        let result = self.stage(&staged, text).and_then(|()| {
            self.step()?;
            fs::rename(&staged, path)?;
            self.step()?;
            sync_directory(path)
        });
        result.map_err(|source| {
            if self.step().is_ok() {
                // Best effort: a later attempt begins anew with it.
                let _ = fs::remove_file(&staged);
            }
            write_error(path, source)
        })
    }

    /// Writes a file that must not be there yet.
    pub(super) fn create(&self, path: &Path, text: &[u8]) -> Result<(), StoreError> {
        self.step().and_then(|()| write(path, text, true)).map_err(|source| write_error(path, source))
    }

    fn stage(&self, staged: &Path, text: &[u8]) -> io::Result<()> {
        self.step()?;
        let half = text.len() / 2;
        let mut file = open(staged, false)?;
        file.write_all(&text[..half])?;
        self.step()?;
        file.write_all(&text[half..])?;
        self.step()?;
        file.sync_all()
    }

    /// Points the link `path` at `target`.
    pub(super) fn point(&self, path: &Path, target: &str) -> Result<(), StoreError> {
        let staged = beside(path);
        let point = || {
            self.step()?;
            match fs::remove_file(&staged) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::os::unix::fs::symlink(target, &staged)?;
            self.step()?;
            fs::rename(&staged, path)?;
            self.step()?;
            sync_directory(path)
        };
        point().map_err(|source| write_error(path, source))
    }

    /// Makes a directory for us alone, and those above it.
    pub(super) fn directory(&self, path: &Path) -> Result<(), StoreError> {
        let make = || {
            self.step()?;
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            sync_directory(path)
        };
        make().map_err(|source| match is_full(&source) {
            true => StoreError::Full { path: path.into(), source },
            false => StoreError::Create { path: path.into(), source },
        })
    }
}

/// `ledger.json` is staged as `.ledger.json.new`.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

fn open(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Not through a link: who could put one there would choose what we overwrite.
    options.write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    if new {
        options.create_new(true)
    } else {
        options.create(true).truncate(true)
    };
    options.open(path)
}

fn write(path: &Path, text: &[u8], new: bool) -> io::Result<()> {
    let mut file = open(path, new)?;
    let written = file.write_all(text).and_then(|()| file.sync_all()).and_then(|()| sync_directory(path));
    if written.is_err() && new {
        // Half a key under the name of a whole one would be worse than none.
        let _ = fs::remove_file(path);
    }
    written
}

/// A rename is on the disk once its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

pub(super) fn write_error(path: &Path, source: io::Error) -> StoreError {
    match is_full(&source) {
        true => StoreError::Full { path: path.into(), source },
        false => StoreError::Write { path: path.into(), source },
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// The text of a file that is ours alone; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, StoreError> {
    let failed = |source| StoreError::Read { path: path.into(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(_) => check_ours(path)?,
    }
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| StoreError::Damaged { path: path.into(), why: "it is no text".into() }),
    }
}

/// That nobody else owns it or can open it. Root may look at what belongs to the service.
pub(super) fn check_ours(path: &Path) -> Result<(), StoreError> {
    let metadata = fs::metadata(path).map_err(|source| StoreError::Read { path: path.into(), source })?;
    // SAFETY: reads a number that the process has.
    let own = unsafe { libc::geteuid() };
    if own != 0 && metadata.uid() != own {
        return Err(StoreError::Foreign { path: path.into(), owner: metadata.uid(), own });
    }
    let mode = metadata.mode() & 0o777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(StoreError::Exposed { path: path.into(), mode }),
    }
}

/// The kind of file system that `path` is on, where what is there is gone after a restart of the machine or the
/// container.
pub fn passing(path: &Path) -> Option<&'static str> {
    // linux/magic.h
    const PASSING: [(i64, &str); 3] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs"), (0x794c_7630, "overlay")];
    let kind = rustix::fs::statfs(path).ok()?.f_type;
    PASSING.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}
