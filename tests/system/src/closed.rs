//! A folder that nobody inside of a test that is [`alone`](crate::alone) may look into, its root included: who has it there is nobody
//! that they know.

use std::path::{Path, PathBuf};

use crate::{
    alone::{is_inside, run},
    certified::as_root,
    process::say,
};

/// It goes when the first self drops it.
pub struct Closed(PathBuf);

impl Closed {
    /// To be made before [`alone`](crate::alone::alone), whose second self finds it.
    ///
    /// # Panics
    /// Where neither this process is root nor `sudo -n` works.
    pub fn folder(name: &str) -> Closed {
        let path = std::env::temp_dir().join(format!("clawgate-closed-{name}"));
        if !is_inside() {
            let said = say(as_root("install").args(["-d", "-m", "700", "-o", "12345"]).arg(&path));
            assert_eq!(said.code, Some(0), "{said:?}");
        }
        Closed(path)
    }

    /// Stands before `path` from now on, until that is unmounted.
    pub fn before(&self, path: &Path) {
        let text = |path: &Path| path.to_str().expect("paths of ours are text").to_owned();
        run("mount", &["--bind", &text(&self.0), &text(path)]);
        std::fs::read_dir(path).expect_err("it is closed");
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if !is_inside() {
            say(as_root("rmdir").arg(&self.0));
        }
    }
}
