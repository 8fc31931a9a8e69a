//! Every stored input of the fuzz targets goes through the same functions again, and through a few thousand small
//! changes that are the same in every run.

use std::{fs, path::Path};

#[path = "../fuzz/src/lib.rs"]
mod targets;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 21] = [
    ("path", targets::path),
    ("connection", targets::connection),
    ("header_policy", targets::header_policy),
    ("client_address", targets::client_address),
    ("proxy_protocol", targets::proxy_protocol),
    ("observer", targets::observer),
    ("gate", targets::gate),
    ("config", targets::config),
    ("forwarded", targets::forwarded),
    ("routes", targets::routes),
    ("ledger", targets::ledger),
    ("state", targets::state),
    ("allow_file", targets::allow_file),
    ("allow_names", targets::allow_names),
    ("connect", targets::connect),
    ("frames", targets::frames),
    ("exchange", targets::exchange),
    ("guard", targets::guard),
    ("limits", targets::limits),
    ("answer", targets::answer),
    ("tls_stream", targets::tls_stream),
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a readable file")).collect()
}

#[test]
fn every_stored_input_still_holds() {
    for (name, target) in TARGETS {
        let inputs = corpus(name);
        assert!(inputs.len() >= 3, "{name} has hardly a corpus");
        inputs.iter().for_each(|input| target(input));
    }
}

#[test]
fn small_changes_of_stored_inputs_hold_too() {
    for (name, target) in TARGETS {
        let inputs = corpus(name);
        let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
        // Those write files.
        let rounds = if matches!(name, "state" | "allow_file" | "allow_names") { 600 } else { 6000 };
        for round in 0..rounds {
            let mut input = inputs[round % inputs.len()].clone();
            for _ in 0..=random.below(4) {
                change(&mut input, &inputs, &mut random);
            }
            target(&input);
        }
    }
}

fn change(input: &mut Vec<u8>, inputs: &[Vec<u8>], random: &mut Xorshift) {
    const INTERESTING: &[u8] = b"\n\n:,;.%/\\_-\"[]=@ \t\0\xff0aF";
    let at = random.below(input.len() + 1);
    match random.below(5) {
        0 if at < input.len() => input[at] = random.next() as u8,
        1 => input.insert(at, INTERESTING[random.below(INTERESTING.len())]),
        2 if at < input.len() => drop(input.remove(at)),
        3 => input.truncate(at),
        _ => {
            let other = &inputs[random.below(inputs.len())];
            let from = random.below(other.len() + 1);
            let to = (from + random.below(24)).min(other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
    }
}

/// Marsaglia's xorshift64: the same numbers everywhere.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
