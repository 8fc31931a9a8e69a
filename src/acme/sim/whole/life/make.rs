//! Lives drawn from a seed, and lives as a story has them.

use std::collections::VecDeque;

use super::Life;
use crate::acme::{
    model::{ChallengeType, Directory, DirectoryUrl, Identifier, Wanted},
    settings::Settings,
    sim::{
        ca::Ca,
        random::Random,
        weather::{self, DAY, Episode, HOUR, Trouble},
        whole::{
            disk::{Disk, Memory},
            server::{Server, Style},
            town::Town,
        },
    },
};

const YEAR: u64 = 365 * DAY;
/// With nothing else to do the promises are looked at this often.
const LOOK: u64 = 6 * HOUR;

impl Life {
    /// Years drawn from a seed.
    pub fn drawn(seed: u64, years: u64) -> Life {
        let mut random = Random::new(seed ^ 0x5eed);
        let start = 1_790_000_000 + random.below(DAY);
        let homes = if random.permille(250) { 2 } else { 1 };
        let life = [90 * DAY, 45 * DAY, 160 * HOUR][random.below(3) as usize];
        let staged = random.permille(800);
        let sets: &[&[&str]] = match random.below(6) {
            0 => &[&["a.test", "b.test"]],
            // Each has names of its own, as each host of a configuration has a certificate of its own.
            1 => &[&["c.test"], &["a.test", "b.test"]],
            2 => &[&["192.0.2.1"]],
            _ => &[&["a.test"]],
        };
        let mut styles = Vec::new();
        for _ in 0..=homes {
            styles.push(Style {
                at_once: random.permille(150),
                silent_about_replaces: random.permille(150),
                dates: random.permille(500),
                no_date: false,
                ari_poll: 6 * HOUR * random.between(1, 4),
            });
        }
        let (mut episodes, mut moments) = (Vec::new(), Vec::new());
        for year in 0..years {
            let (of_year, happening) = weather::draw(&mut random, start + year * YEAR, YEAR, homes);
            episodes.extend(of_year);
            moments.extend(happening);
        }
        if random.permille(100) {
            episodes.push(Episode { from: start, to: start + 2 * years * YEAR, trouble: Trouble::BothClosed });
        }
        moments.retain(|(at, _)| *at > start);
        let mut drawn = Life::of(start, homes, staged, sets, &styles, life, Disk::Memory(Memory::default()), random);
        drawn.name = format!("seed {seed} of {years} years");
        drawn.end = start + years * YEAR;
        drawn.moments = moments.into();
        let mut town = drawn.town.lock();
        town.episodes = episodes;
        town.points.random = true;
        drop(town);
        drawn
    }

    /// A story: this weather and these moments, by seconds after the start, and nothing else.
    pub fn scene(name: &str, sets: &[&[&str]], staged: bool, disk: Disk, weather: &[(u64, u64, Trouble)]) -> Life {
        let start = 1_790_000_000;
        let styles = [Style { ari_poll: 6 * HOUR, ..Style::default() }; 2];
        let mut scene = Life::of(start, 1, staged, sets, &styles, 90 * DAY, disk, Random::new(7));
        scene.name = name.to_owned();
        scene.end = start + 4 * DAY;
        scene.look = 20;
        let episode = |(from, to, trouble): &(u64, u64, Trouble)| Episode {
            from: start + from,
            to: start + to,
            trouble: *trouble,
        };
        scene.town.lock().episodes = weather.iter().map(episode).collect();
        scene
    }

    #[allow(clippy::too_many_arguments)]
    fn of(
        start: u64,
        homes: usize,
        staged: bool,
        sets: &[&[&str]],
        styles: &[Style],
        life: u64,
        disk: Disk,
        mut random: Random,
    ) -> Life {
        let staging = DirectoryUrl("https://staging.test/directory".into());
        let mut servers = Vec::new();
        let mut directories = Vec::new();
        for (home, style) in styles.iter().enumerate().take(homes) {
            let url = DirectoryUrl(format!("https://ca{home}.test/directory"));
            let staging = (staged && home == 0).then(|| staging.clone());
            directories.push(Directory { url: url.clone(), staging, eab: false });
            servers.push(Server::new(&url, Ca::new(false, life, random.next()), *style));
        }
        servers.push(Server::new(&staging, Ca::new(true, life, random.next()), styles[homes]));
        let wanted = sets.iter().map(|names| Wanted {
            identifiers: names.iter().map(|name| Identifier::from(*name)).collect(),
            directories: directories.clone(),
            profile: None,
            dns01: false,
        });
        let wanted: Vec<Wanted> = wanted.collect();
        let challenges = vec![ChallengeType::Http01, ChallengeType::TlsAlpn01];
        Life {
            town: Town::new(start, servers, "staging.test", disk.clone(), Random::new(random.next())),
            disk,
            name: String::new(),
            homes,
            moments: VecDeque::new(),
            start,
            end: start,
            look: LOOK,
            next_look: start,
            goal: None,
            lost: false,
            accounts_allowed: 1,
            preinstalls: false,
            accidents: VecDeque::new(),
            costly: Vec::new(),
            crashes: 0,
            expired: vec![false; wanted.len()],
            expirations: 0,
            served: vec![None; wanted.len()],
            settings: Settings { wanted, challenges, email: Some("ops@a.test".into()), ..Settings::none() },
            random,
        }
    }
}
