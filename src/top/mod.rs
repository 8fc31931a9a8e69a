//! `clawgate top`: what the running process does, live. `view` draws, pure but for the frame it draws on; here are the
//! terminal, the keys, and the thread that asks.

mod view;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use signal_hook::consts::{SIGHUP, SIGTERM};

use crate::status::top::Moment;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(1);
/// How long a key waits at most.
const KEYS: Duration = Duration::from_millis(50);

/// Why `top` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By a key.
    Asked,
    /// By this signal: SIGTERM, or SIGHUP as when the terminal is closed.
    Signal(i32),
}

/// Shows `first` and what `ask` answers from then on, until q or Ctrl-C or a signal. An `ask` that fails is shown too: a process
/// that restarts comes back.
///
/// The terminal is as it was afterwards, also after a panic.
///
/// # Errors
/// When the terminal cannot be used.
pub fn run(
    first: Moment,
    colour: bool,
    ask: impl FnMut() -> Result<Moment, String> + Send + 'static,
) -> io::Result<End> {
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGTERM, SIGHUP] {
        signal_hook::flag::register_usize(number, signal.clone(), number as usize)?;
    }
    // Restores the terminal in the panic hook too, before the message is printed.
    let mut terminal = ratatui::try_init()?;
    let result = show(&mut terminal, first, colour, &signal, ask);
    // Where the terminal is gone there is nothing to restore.
    let restored = ratatui::try_restore();
    match result? {
        End::Asked => restored.map(|()| End::Asked),
        end => Ok(end),
    }
}

fn show(
    terminal: &mut DefaultTerminal,
    first: Moment,
    colour: bool,
    signal: &AtomicUsize,
    mut ask: impl FnMut() -> Result<Moment, String> + Send + 'static,
) -> io::Result<End> {
    let (sender, answers) = mpsc::sync_channel(1);
    let (over, ends) = mpsc::channel::<()>();
    // A question may take a while, and keys do not wait for it.
    thread::Builder::new().name("ask".into()).spawn(move || {
        while matches!(ends.recv_timeout(EVERY), Err(RecvTimeoutError::Timeout)) && sender.send(ask()).is_ok() {}
    })?;
    let mut moment = first;
    let mut trouble = None;
    let end = loop {
        match signal.load(Ordering::Relaxed) {
            0 => {}
            number => break End::Signal(number as i32),
        }
        terminal.draw(|frame| {
            view::draw(frame, &moment, trouble.as_deref());
            if !colour {
                view::take_colours_off(frame);
            }
        })?;
        if event::poll(KEYS)? {
            match event::read()? {
                Event::Key(key) if ends_it(key) => break End::Asked,
                // The next turn draws at the new size.
                _ => {}
            }
        }
        match answers.try_recv() {
            Ok(Ok(next)) => (moment, trouble) = (next, None),
            Ok(Err(text)) => trouble = Some(text),
            Err(_) => {}
        }
    };
    drop(over);
    Ok(end)
}

fn ends_it(key: KeyEvent) -> bool {
    let ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release && (ctrl_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}
