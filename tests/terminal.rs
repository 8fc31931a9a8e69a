//! `status --watch` and `top` on a real terminal: what it shows, and how it is left.

#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpListener,
    num::NonZero,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// Long enough for a slow machine; nothing here waits for it to pass.
const SOON: Duration = Duration::from_secs(30);

/// A proxy, for the commands to ask.
struct Proxy {
    child: Child,
    home: tempfile::TempDir,
}

impl Proxy {
    fn start() -> Proxy {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().display();
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "state_dir = \"{at}/state\"\nadmin_socket = \"{at}/admin.sock\"\nworkers = 1\n[[listen]]\naddress = \
             \"127.0.0.1:0\"\nserve = \"http\"\n[upstream.test]\naddress = \"{nobody}\"\nkind = \"generic\"\nhold = \
             \"0s\"\n[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\nupstream = \"test\"\n"
        );
        fs::write(home.path().join("config.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
        command.arg("--config").arg(home.path().join("config.toml")).stdout(Stdio::null()).stderr(Stdio::null());
        let proxy = Proxy { child: command.spawn().unwrap(), home };
        let until = Instant::now() + SOON;
        while !proxy.command(&["status"]).output().unwrap().status.success() {
            assert!(Instant::now() < until, "the proxy never answers");
            thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
        command.args(words).arg("--config").arg(self.home.path().join("config.toml"));
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What has come from the program so far.
#[derive(Default)]
struct Shown {
    screen: Option<vt100::Parser>,
    bytes: Vec<u8>,
    over: bool,
}

/// A terminal, and the program that has it.
struct Terminal {
    child: Child,
    master: File,
    shown: Arc<(Mutex<Shown>, Condvar)>,
    /// Of the line discipline, before the program began.
    before: libc::termios,
    /// Kept open, so that the settings can be read when the program is gone.
    slave: OwnedFd,
}

fn settings(fd: &OwnedFd) -> libc::termios {
    // SAFETY: a plain structure that the call fills.
    unsafe {
        let mut settings = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(fd.as_raw_fd(), &mut settings), 0);
        settings
    }
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

fn size(columns: u16, lines: u16) -> libc::winsize {
    libc::winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    fn run(mut command: Command, columns: u16, lines: u16) -> Terminal {
        let (mut master, mut slave) = (-1, -1);
        let wanted = size(columns, lines);
        // SAFETY: both numbers are filled by the call and owned from here on.
        let (master, slave) = unsafe {
            let opened = libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null(), &wanted);
            assert_eq!(opened, 0);
            (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
        };
        let end = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: both calls are async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let before = settings(&slave);
        let child = command.spawn().unwrap();
        drop(command);
        let shown = Arc::new((Mutex::new(Shown::default()), Condvar::new()));
        shown.0.lock().unwrap().screen = Some(vt100::Parser::new(cells(lines), cells(columns), 0));
        let mut from = File::from(master.try_clone().unwrap());
        let told = shown.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let n = from.read(&mut buffer).unwrap_or(0);
                let mut shown = told.0.lock().unwrap();
                shown.over = n == 0;
                shown.bytes.extend_from_slice(&buffer[..n]);
                shown.screen.as_mut().unwrap().process(&buffer[..n]);
                told.1.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        Terminal { child, master: File::from(master), shown, before, slave }
    }

    /// Waits until what was shown is as wished.
    fn until(&self, what: &str, wish: impl Fn(&vt100::Screen, &[u8]) -> bool) {
        let (shown, changed) = &*self.shown;
        let mut shown = shown.lock().unwrap();
        let until = Instant::now() + SOON;
        while !wish(shown.screen.as_ref().unwrap().screen(), &shown.bytes) {
            let left = until.saturating_duration_since(Instant::now());
            let screen = shown.screen.as_ref().unwrap().screen().contents();
            assert!(!left.is_zero() && !shown.over, "never {what}:\n{screen}");
            shown = changed.wait_timeout(shown, left).unwrap().0;
        }
    }

    fn shows(&self, text: &str) {
        self.until(text, |screen, _| screen.contents().contains(text));
    }

    /// Waits until what is typed is not shown: a person is slower than that after a prompt, a test is not.
    fn hides(&self) {
        let until = Instant::now() + SOON;
        while settings(&self.slave).c_lflag & libc::ECHO != 0 {
            assert!(Instant::now() < until, "what is typed is shown");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn types(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    fn resize(&self, columns: u16, lines: u16) {
        self.shown.0.lock().unwrap().screen.as_mut().unwrap().screen_mut().set_size(cells(lines), cells(columns));
        let wanted = size(columns, lines);
        // SAFETY: a plain system call; the kernel tells the program by SIGWINCH.
        assert_eq!(unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &wanted) }, 0);
    }

    fn signal(&self, number: i32) {
        // SAFETY: a plain system call to a child that was not waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, number) }, 0);
    }

    /// The program's end; and that the terminal is as it was: line mode, the first screen, a cursor.
    fn ends_clean(mut self) -> ExitStatus {
        let until = Instant::now() + SOON;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it never ends"),
            }
            thread::sleep(Duration::from_millis(10));
        };
        let after = settings(&self.slave);
        assert_eq!(
            (after.c_lflag, after.c_iflag, after.c_oflag),
            (self.before.c_lflag, self.before.c_iflag, self.before.c_oflag)
        );
        self.until("the first screen and a cursor", |screen, _| !screen.alternate_screen() && !screen.hide_cursor());
        status
    }
}

fn times(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
}

#[test]
fn status_watch_shows_the_page_again_and_again_until_ctrl_c() {
    let proxy = Proxy::start();
    let mut terminal = Terminal::run(proxy.command(&["status", "--watch"]), 100, 60);
    terminal.shows("chat.test");
    terminal.until("a second page", |_, bytes| times(bytes, "not seen here") >= 2);
    terminal.until("one page at a time", |screen, _| times(screen.contents().as_bytes(), "not seen here") == 1);
    terminal.resize(90, 50);
    let before = times(&terminal.shown.0.lock().unwrap().bytes, "not seen here");
    terminal.until("a page after the resize", |_, bytes| times(bytes, "not seen here") > before);
    terminal.types(b"\x03");
    assert_eq!(terminal.ends_clean().signal(), Some(libc::SIGINT));
}

#[test]
fn top_draws_follows_the_size_and_ends_with_q() {
    let proxy = Proxy::start();
    let mut terminal = Terminal::run(proxy.command(&["top"]), 100, 40);
    terminal.shows("(q ends)");
    terminal.shows("10 s, sampled");
    terminal.until("the screen of its own", |screen, _| screen.alternate_screen());
    terminal.resize(70, 20);
    terminal.shows("top needs 80 x 24 characters, here are 70 x 20");
    terminal.resize(80, 24);
    terminal.shows("10 s, sampled");
    terminal.types(b"q");
    assert_eq!(terminal.ends_clean().code(), Some(0));
}

#[test]
fn top_leaves_the_terminal_as_it_was_whatever_ends_it() {
    let proxy = Proxy::start();
    for (number, code) in [(libc::SIGTERM, 143), (libc::SIGHUP, 129)] {
        let terminal = Terminal::run(proxy.command(&["top"]), 100, 40);
        terminal.shows("(q ends)");
        terminal.signal(number);
        assert_eq!(terminal.ends_clean().code(), Some(code));
    }
    let mut terminal = Terminal::run(proxy.command(&["top"]), 100, 40);
    terminal.shows("(q ends)");
    terminal.types(b"\x03");
    assert_eq!(terminal.ends_clean().code(), Some(0));
}

#[test]
fn top_has_colours_unless_they_are_not_wanted() {
    let proxy = Proxy::start();
    let coloured = |screen: &vt100::Screen| {
        let (lines, columns) = screen.size();
        let (lines, columns) = (lines.get(), columns.get());
        let mut cells = (0..lines).flat_map(|line| (0..columns).map(move |column| (line, column)));
        cells
            .any(|(line, column)| screen.cell(line, column).is_some_and(|cell| cell.fgcolor() != vt100::Color::Default))
    };
    let mut terminal = Terminal::run(proxy.command(&["top"]), 100, 40);
    terminal.until("colours", |screen, _| coloured(screen));
    terminal.types(b"q");
    assert_eq!(terminal.ends_clean().code(), Some(0));
    let mut command = proxy.command(&["top"]);
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::run(command, 100, 40);
    terminal.shows("10 s, sampled");
    terminal.until("no colour", |screen, _| !coloured(screen));
    terminal.types(b"q");
    assert_eq!(terminal.ends_clean().code(), Some(0));
}

#[test]
fn top_says_what_is_wrong_before_it_takes_the_screen() {
    let mut proxy = Proxy::start();
    let terminal = Terminal::run(proxy.command(&["top"]), 100, 40);
    terminal.shows("(q ends)");
    proxy.child.kill().unwrap();
    proxy.child.wait().unwrap();
    // One that runs goes on, and says that nobody answers.
    terminal.until("that nobody answers", |screen, _| !screen.contents().contains("(q ends)"));
    terminal.signal(libc::SIGTERM);
    terminal.ends_clean();
    let terminal = Terminal::run(proxy.command(&["top"]), 100, 40);
    terminal.shows("systemctl status clawgate");
    terminal
        .until("no screen of its own", |screen, bytes| !screen.alternate_screen() && times(bytes, "\x1b[?1049h") == 0);
    assert_eq!(terminal.ends_clean().code(), Some(69));
}

#[test]
fn a_password_is_asked_for_twice_and_never_shown() {
    let home = tempfile::tempdir().unwrap();
    let ask = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
        command.arg("hash-password").current_dir(home.path());
        Terminal::run(command, 120, 10)
    };
    let mut terminal = ask();
    terminal.shows("Password: ");
    terminal.hides();
    terminal.types(b"correct horse\r");
    terminal.shows("The same again: ");
    terminal.hides();
    terminal.types(b"correct horse\r");
    terminal.shows("password_hash = \"$argon2id$v=19$m=19456,t=2,p=1$");
    terminal.until("no password on the screen", |_, bytes| times(bytes, "horse") == 0);
    assert_eq!(terminal.ends_clean().code(), Some(0));
    let mut terminal = ask();
    terminal.shows("Password: ");
    terminal.hides();
    terminal.types(b"one\r");
    terminal.shows("The same again: ");
    terminal.hides();
    terminal.types(b"two\r");
    terminal.shows("the two are not the same; nothing was made");
    assert_ne!(terminal.ends_clean().code(), Some(0));
}
