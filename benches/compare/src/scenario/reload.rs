//! A config that changes while clients are at work: what they lose by it, and how long they wait.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::timeout;

use super::{Bench, Maker, Row, Sample, fresh::dialer};
use crate::{
    contender::Instance,
    load::{Session, http1, http1::Connection, open_loop_until, tls::Dialer, websocket::Echo},
    origin,
    stats::percentile,
    verify,
};

const WEBSOCKETS: usize = 64;
/// Of each WebSocket, ten a second.
const ECHOES: u32 = 10 * WEBSOCKETS as u32;
/// Load before the first reload, between two, and after the last.
const BETWEEN: Duration = Duration::from_millis(700);
/// Until new connections get answers of the new config.
const APPLIED: Duration = Duration::from_secs(10);
/// Who has no answer by then has none.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the clients lost, and the first loss of each kind in words.
#[derive(Default)]
struct Losses {
    count: Cell<usize>,
    first: RefCell<Vec<String>>,
}

impl Losses {
    fn add(&self, what: &'static str, error: &anyhow::Error) {
        self.count.set(self.count.get() + 1);
        let mut first = self.first.borrow_mut();
        if !first.iter().any(|said| said.starts_with(what)) {
            first.push(format!("{what}: {error:#}"));
        }
    }
}

impl Row {
    pub(super) async fn reload(&self, per_second: u32, maker: &Maker<'_>, bench: &Bench<'_>) -> Result<Sample> {
        let mut instance = Instance::start(maker.prepared, self.access_log, Some(1), maker.setting)?;
        verify::until_ready(&mut instance, bench).await?;
        let dialer = dialer(&instance, bench)?;
        until_applied(1, &mut instance, &dialer, bench.host).await?;
        let losses = Rc::new(Losses::default());
        let request: Rc<[u8]> = http1::get(bench.host, "/").into();
        let pages = (0..self.sessions).map(|_| Page {
            dialer: dialer.clone(),
            request: Rc::clone(&request),
            connection: None,
            losses: Rc::clone(&losses),
        });
        let mut sockets = Vec::new();
        for _ in 0..WEBSOCKETS {
            let echo = Some(Echo::open(&dialer, bench.host, 100).await?);
            sockets.push(Kept {
                dialer: dialer.clone(),
                host: bench.host.to_owned(),
                echo,
                losses: Rc::clone(&losses),
            });
        }
        let reloads = (self.units / bench.shorten).max(1) as u32;
        let stop = Rc::new(Cell::new(false));
        let change = async {
            tokio::time::sleep(BETWEEN).await;
            for generation in 2..2 + reloads {
                instance.reload(generation)?;
                until_applied(generation, &mut instance, &dialer, bench.host).await?;
                tokio::time::sleep(BETWEEN).await;
            }
            stop.set(true);
            Ok(())
        };
        let begun = Instant::now();
        let ((), (_pages, mut took), (_sockets, echoes)) = tokio::try_join!(
            change,
            open_loop_until(pages.collect(), per_second, &stop),
            open_loop_until(sockets, ECHOES, &stop),
        )?;
        let wall = begun.elapsed();
        ensure!(echoes.len() >= WEBSOCKETS, "{} echoes on {WEBSOCKETS} WebSockets", echoes.len());
        for said in losses.first.borrow().iter() {
            eprintln!("  {}, lost over a reload: {said}", instance.contender.title);
        }
        let per_second = took.len() as f64 / wall.as_secs_f64();
        Ok(Sample {
            p50_us: percentile(&mut took, 0.50) as f64 / 1e3,
            p99_us: percentile(&mut took, 0.99) as f64 / 1e3,
            per_second,
            lost: losses.count.get() as f64,
            ..Sample::default()
        })
    }
}

/// Returns when a new connection is answered by the config of this generation.
async fn until_applied(generation: u32, instance: &mut Instance, dialer: &Dialer, host: &str) -> Result<()> {
    let deadline = Instant::now() + APPLIED;
    let wanted = format!("x-generation: {generation}\r\n");
    let request = http1::get(host, "/");
    loop {
        instance.check_alive()?;
        let seen = async {
            let head = Connection::new(dialer.connect().await?, 4096).exchange(&request, true, |_| ()).await?;
            Ok(head.text.to_ascii_lowercase().contains(&wanted))
        };
        let seen: Result<bool> = seen.await;
        match seen {
            Ok(true) => return Ok(()),
            _ if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(false) => bail!("generation {generation} is not there after {} s", APPLIED.as_secs()),
            Err(error) => return Err(error.context("after a reload")),
        }
    }
}

/// Asks again and again over a connection that is kept, and opens another one where the proxy has closed it: that is no
/// loss. A request that is under way then, or finds nobody, is one: not every request may be sent twice.
struct Page {
    dialer: Dialer,
    request: Rc<[u8]>,
    connection: Option<Connection>,
    losses: Rc<Losses>,
}

impl Page {
    async fn attempt(&mut self) -> Result<()> {
        let mut usable = None;
        if let Some(mut kept) = self.connection.take()
            && !kept.is_over().await
        {
            usable = Some(kept);
        }
        let mut connection = match usable {
            Some(kept) => kept,
            None => Connection::new(self.dialer.connect().await?, 4096),
        };
        let head = connection.exchange(&self.request, true, |_| ()).await?;
        ensure!(head.status == 200 && head.length == origin::PAGE_BYTES as u64, "status {}", head.status);
        let last = head.text.to_ascii_lowercase().contains("\r\nconnection: close\r\n");
        self.connection = (!last).then_some(connection);
        Ok(())
    }
}

impl Session for Page {
    async fn unit(&mut self) -> Result<()> {
        if let Err(error) = timeout(PATIENCE, self.attempt()).await.context("no answer in time").flatten() {
            self.losses.add("a request", &error);
        }
        Ok(())
    }
}

/// A WebSocket that has to live on.
struct Kept {
    dialer: Dialer,
    host: String,
    echo: Option<Echo>,
    losses: Rc<Losses>,
}

impl Kept {
    async fn attempt(&mut self) -> Result<()> {
        let mut echo = match self.echo.take() {
            Some(open) => open,
            None => Echo::open(&self.dialer, &self.host, 100).await?,
        };
        echo.unit().await?;
        self.echo = Some(echo);
        Ok(())
    }
}

impl Session for Kept {
    async fn unit(&mut self) -> Result<()> {
        if let Err(error) = timeout(PATIENCE, self.attempt()).await.context("no echo in time").flatten() {
            self.losses.add("a WebSocket", &error);
        }
        Ok(())
    }
}
