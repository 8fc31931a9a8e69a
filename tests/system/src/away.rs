//! A file system whose server is away, as one over the network can be: whoever touches it waits for as long as it lasts.
//! Only for tests that are [`alone`](crate::alone).

use std::{
    ffi::CString,
    fs::File,
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::Path,
};

use crate::alone::is_inside;

/// It ends with this: what stood there before is there again, and who waited is told of an error.
pub struct Away {
    at: CString,
    /// The kernel's questions stay in here, which is why whoever waits can still be killed.
    _unread: File,
}

impl Away {
    /// From now on `path`, a folder or a file, is on such a file system.
    ///
    /// # Panics
    /// Outside of a story, and where the kernel has no FUSE.
    pub fn at(path: &Path) -> Away {
        assert!(is_inside(), "it would hang the real machine");
        let device = File::options().read(true).write(true).open("/dev/fuse").expect("the kernel has FUSE");
        let kind = if path.is_dir() { "40000" } else { "100000" };
        let options = format!("fd={},rootmode={kind},user_id=0,group_id=0", device.as_raw_fd());
        let text = |bytes: &[u8]| CString::new(bytes).expect("no zeroes in our paths");
        let (at, options) = (text(path.as_os_str().as_bytes()), text(options.as_bytes()));
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        // SAFETY: four texts that end in zero and outlive the call.
        let mounted =
            unsafe { libc::mount(c"away".as_ptr(), at.as_ptr(), c"fuse".as_ptr(), flags, options.as_ptr().cast()) };
        assert_eq!(mounted, 0, "{}: {}", path.display(), std::io::Error::last_os_error());
        Away { at, _unread: device }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        // SAFETY: a text that ends in zero. It goes from the tree at once, whoever is still in it.
        unsafe { libc::umount2(self.at.as_ptr(), libc::MNT_DETACH) };
    }
}
