//! Mutated inputs, always the same from the same seed.

use std::path::Path;

/// Tries so many inputs of a target; how many came far in it.
pub(super) fn tried(target: &str, rounds: u64) -> usize {
    let (_, begin) = super::TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let mut check = begin();
    Inputs::of(target, rounds).filter(|input| check(input)).count()
}

/// Inputs that begin as the lines of a file.
pub(super) struct Inputs {
    corpus: Vec<Vec<u8>>,
    /// What libFuzzer found: tried as it is. Mutations of it would mostly be noise.
    found: Vec<Vec<u8>>,
    dictionary: Vec<Vec<u8>>,
    random: Random,
    rounds: u64,
}

impl Inputs {
    /// Those of a target; `rounds` unless the environment says otherwise.
    pub(super) fn of(target: &str, rounds: u64) -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let factor = number("PORTCULLIS_FUZZ_ROUNDS").unwrap_or(1);
        Self {
            corpus: lines(&format!("corpus/{target}.txt")),
            found: lines(&format!("found/{target}.txt")),
            dictionary: lines("dictionary.txt"),
            random: Random(number("PORTCULLIS_FUZZ_SEED").unwrap_or(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            rounds: rounds * factor,
        }
    }

    fn mutated(&mut self) -> Vec<u8> {
        let mut input = self.random.choose(&self.corpus).clone();
        for _ in 0..self.random.below(6) {
            self.mutate(&mut input);
        }
        input.truncate(100_000);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let random = &mut self.random;
        let (at, until) = random.range(input.len());
        match random.below(9) {
            0 => drop(input.drain(at..until)),
            1 => {
                let piece = input[at..until].to_vec();
                input.splice(until..until, piece);
            }
            2 => input.insert(at, random.byte()),
            3 if at < input.len() => input[at] = random.byte(),
            4 if at < input.len() => input[at] ^= 1 << random.below(8),
            5 if at < input.len() => input[at] = input[at].to_ascii_uppercase() ^ 0x20,
            6 => {
                let other = random.choose(&self.corpus);
                let (from, to) = random.range(other.len());
                input.splice(at..until, other[from..to].iter().copied());
            }
            7 => drop(input.splice(at..until, random.choose(&self.dictionary).iter().copied())),
            _ => drop(input.splice(at..at, random.choose(&self.dictionary).iter().copied())),
        }
    }
}

/// What was found, then mutations of the corpus, and at last the corpus as it is.
impl Iterator for Inputs {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(found) = self.found.pop() {
            return Some(found);
        }
        self.rounds = self.rounds.checked_sub(1)?;
        let plain = usize::try_from(self.rounds).ok().and_then(|at| self.corpus.get(at)).cloned();
        Some(plain.unwrap_or_else(|| self.mutated()))
    }
}

/// The lines of a file below `fuzz/` that are no remarks, with `\r \n \t \0 \xNN \\` as bytes.
fn lines(file: &str) -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(file);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")).map(bytes).collect()
}

fn bytes(line: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), line.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'x') => {
                let mut digit = || char::from(rest.next().unwrap()).to_digit(16).unwrap();
                u8::try_from(digit() * 16 + digit()).unwrap()
            }
            // As failures print them.
            Some(byte @ (b'\\' | b'\'' | b'"')) => byte,
            other => panic!("unknown escape {other:?} in {line}"),
        });
    }
    bytes
}

/// xorshift64*: quick, repeatable, and good enough to mutate bytes.
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() % 256).unwrap()
    }

    pub(super) fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A short range within so many bytes.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let at = self.below(length + 1);
        (at, (at + self.below(24)).min(length))
    }
}

impl Inputs {
    /// The source of randomness, for targets that choose more than bytes.
    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}
