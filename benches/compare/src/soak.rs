//! Hours of mixed load in little: whether memory and descriptors stay where they were.
//!
//! One cycle is load of every kind, connections that come and go or break off, a reload, and then rest. What is looked at is
//! what is left at rest.

use std::{cell::Cell, rc::Rc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustls::HandshakeKind;

use crate::{
    contender::{Instance, Prepared, Setting, template::AccessLog},
    load::{
        Session, http1,
        http1::Connection,
        http2, open_loop_until,
        tls::{Alpn, Dialer, Group, Resume, Trust},
        websocket::Echo,
    },
    memory, origin,
    scenario::{Bench, Half, stalled::Stalled},
    stats::spread,
    verify,
};

const LOAD: Duration = Duration::from_secs(20);
/// Connections to the gateway that nobody uses are closed after 4 s.
const REST: Duration = Duration::from_secs(6);
/// With fewer there is nothing to compare.
const CYCLES: u32 = 6;
/// Memory may be this much more in the last third than in the one before it, and so may the descriptors be.
const GROWTH: f64 = 0.02;
const GROWTH_KIB: f64 = 512.0;
const GROWTH_DESCRIPTORS: f64 = 4.0;

/// What is there at the end of one cycle.
#[derive(Debug, Clone, Copy)]
struct AtRest {
    memory_kib: f64,
    descriptors: f64,
}

/// Fails when something grows, or when anything was answered otherwise than it should be.
pub async fn run(prepared: &Prepared, setting: &Setting<'_>, bench: &Bench<'_>, minutes: u32) -> Result<()> {
    let all = Duration::from_secs(60) * minutes;
    let load = LOAD.min((all / CYCLES).saturating_sub(REST)).max(Duration::from_secs(3));
    let cycles = (all.as_secs_f64() / (load + REST).as_secs_f64()).ceil() as u32;
    let cycles = cycles.max(CYCLES);
    let mut instance = Instance::start(prepared, AccessLog::On, Some(1), setting)?;
    verify::until_ready(&mut instance, bench).await?;
    let mut seen = Vec::new();
    for cycle in 1..=cycles {
        let done = mixed(&mut instance, bench, load, cycle + 1).await.with_context(|| format!("in cycle {cycle}"))?;
        tokio::time::sleep(REST).await;
        instance.check_alive()?;
        let memory_kib = memory::pss_kib(instance.pid())? as f64;
        let descriptors = memory::descriptors(instance.pid())? as f64;
        println!(
            "cycle {cycle} of {cycles}: {done} units, then {memory_kib} KiB and {descriptors} descriptors at rest"
        );
        seen.push(AtRest { memory_kib, descriptors });
    }
    println!("{}", judge(&seen)?);
    Ok(())
}

/// Compares the last third with the one before; the first one is for pools and caches to fill. Pure.
fn judge(seen: &[AtRest]) -> Result<String> {
    let third = seen.len() / 3;
    ensure!(third > 0, "{} cycles are too few", seen.len());
    let (middle, last) = (&seen[seen.len() - 2 * third..seen.len() - third], &seen[seen.len() - third..]);
    let median = |of: &[AtRest], get: fn(&AtRest) -> f64| {
        spread(&of.iter().map(get).collect::<Vec<_>>()).map(|all| all.median).unwrap_or_default()
    };
    let memory = [middle, last].map(|of| median(of, |at| at.memory_kib));
    let descriptors = [middle, last].map(|of| median(of, |at| at.descriptors));
    let said = format!(
        "at rest: {} KiB, then {} KiB; {} descriptors, then {}",
        memory[0], memory[1], descriptors[0], descriptors[1]
    );
    let memory_bound = memory[0] + GROWTH_KIB.max(memory[0] * GROWTH);
    ensure!(memory[1] <= memory_bound, "memory grows: {said}, allowed are {memory_bound:.0} KiB");
    let descriptors_bound = descriptors[0] + GROWTH_DESCRIPTORS;
    ensure!(descriptors[1] <= descriptors_bound, "descriptors leak: {said}, allowed are {descriptors_bound}");
    Ok(said)
}

/// Load of every kind at once for `time`, in its middle a reload; how many units were done.
async fn mixed(instance: &mut Instance, bench: &Bench<'_>, time: Duration, generation: u32) -> Result<usize> {
    let dialer = |alpn, resume| {
        let terms = (alpn, Group::X25519, resume, Trust::Same);
        Dialer::try_new(instance.address, bench.host, bench.served, terms)
    };
    let plain = dialer(Alpn::Http1, Resume::Never)?;
    let request = |path: &str| -> Rc<[u8]> { http1::get(bench.host, path).into() };
    let page = request("/");
    let (mut kept, mut downloads, mut uploads) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..32 {
        let connection = Connection::new(plain.connect().await?, 16 * 1024);
        kept.push(http1::Get { connection, request: Rc::clone(&page), expected: origin::PAGE_BYTES as u64 });
    }
    const LONG: usize = 1 << 20;
    for _ in 0..4 {
        let connection = Connection::new(plain.connect().await?, 64 * 1024);
        let request = request(&format!("/download/{LONG}"));
        downloads.push(http1::Get { connection, request, expected: LONG as u64 });
        let connection = Connection::new(plain.connect().await?, 16 * 1024);
        let (host, piece) = (bench.host.to_owned(), origin::pattern_piece().into());
        uploads.push(http1::Upload { connection, host, piece, bytes: LONG });
    }
    let mut fresh = Vec::new();
    for resume in [Resume::Never, Resume::Tickets, Resume::Never, Resume::Tickets] {
        let (dialer, request) = (dialer(Alpn::Http1, resume)?, Rc::clone(&page));
        let kind = (resume == Resume::Never).then_some(HandshakeKind::Full);
        fresh.push(http1::Fresh { dialer, request, expected: origin::PAGE_BYTES as u64, kind });
    }
    let mut streams = Vec::new();
    for _ in 0..4 {
        let sender = http2::open(dialer(Alpn::Http2, Resume::Never)?.connect().await?).await?;
        for _ in 0..4 {
            let request = http2::get(bench.host, "/")?;
            streams.push(http2::Get { sender: sender.clone(), request, expected: origin::PAGE_BYTES });
        }
    }
    let coming = |what| Coming { what, dialer: plain.clone(), host: bench.host.to_owned() };
    let sockets: Vec<_> = (0..8).map(|_| coming(What::WebSocket)).collect();
    let gone: Vec<_> = [What::Stalled(Half::Request), What::Stalled(Half::Answer)].into_iter().map(coming).collect();

    let stop = Rc::new(Cell::new(false));
    let clock = async {
        tokio::time::sleep(time / 2).await;
        instance.reload(generation)?;
        tokio::time::sleep(time / 2).await;
        stop.set(true);
        Ok(())
    };
    let ((), kept, streams, fresh, downloads, uploads, sockets, gone) = tokio::try_join!(
        clock,
        open_loop_until(kept, 1_000, &stop),
        open_loop_until(streams, 400, &stop),
        open_loop_until(fresh, 80, &stop),
        open_loop_until(downloads, 20, &stop),
        open_loop_until(uploads, 20, &stop),
        open_loop_until(sockets, 40, &stop),
        open_loop_until(gone, 20, &stop),
    )?;
    let units = [&kept.1, &streams.1, &fresh.1, &downloads.1, &uploads.1, &sockets.1, &gone.1];
    Ok(units.iter().map(|times| times.len()).sum())
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// Opened, used, and then gone without a close frame.
    WebSocket,
    /// Gone in the middle.
    Stalled(Half),
}

/// A unit is a client that comes, does that, and goes.
struct Coming {
    what: What,
    dialer: Dialer,
    host: String,
}

impl Session for Coming {
    async fn unit(&mut self) -> Result<()> {
        match self.what {
            What::WebSocket => {
                let mut echo = Echo::open(&self.dialer, &self.host, 100).await?;
                for _ in 0..3 {
                    echo.unit().await?;
                }
            }
            What::Stalled(half) => drop(Stalled::open(half, &self.dialer, &self.host).await?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(cycles: impl Iterator<Item = (f64, f64)>) -> Result<String> {
        judge(&cycles.map(|(memory_kib, descriptors)| AtRest { memory_kib, descriptors }).collect::<Vec<_>>())
    }

    #[test]
    fn what_fills_at_first_and_then_wavers_is_no_leak() {
        let memory = (0..30).map(|n| (20_000.0_f64.min(9_000.0 + 2_000.0 * f64::from(n)), f64::from(30 + n % 3)));
        assert_eq!(judged(memory).unwrap(), "at rest: 20000 KiB, then 20000 KiB; 31 descriptors, then 31");
    }

    #[test]
    fn what_grows_and_grows_is_found_in_memory_and_in_descriptors() {
        let leak = judged((0..30).map(|n| (20_000.0 + 60.0 * f64::from(n), 30.0))).unwrap_err();
        assert!(leak.to_string().starts_with("memory grows"), "{leak}");
        let leak = judged((0..30).map(|n| (20_000.0, 30.0 + f64::from(n)))).unwrap_err();
        assert!(leak.to_string().starts_with("descriptors leak"), "{leak}");
        assert!(judged([(1.0, 1.0), (1.0, 1.0)].into_iter()).is_err());
    }
}
