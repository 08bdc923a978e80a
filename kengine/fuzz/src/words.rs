//! Mutates programs by words: identifiers, literals, and other single characters.

/// Mutates a program: removes, repeats, moves or replaces words, or inserts one of `known`.
pub fn mutate(program: &str, known: &[&str], seed: u32) -> String {
    let mut random = Random(seed.into());
    let mut words = split(program);
    for _ in 0..1 + random.below(3) {
        let at = random.below(words.len() + 1);
        let length = 1 + random.below(4).min(words.len().saturating_sub(at + 1));
        let end = (at + length).min(words.len());
        match random.below(6) {
            0 => drop(words.drain(at..end)),
            1 => {
                let repeated = words[at..end].to_vec();
                words.splice(at..at, repeated);
            }
            2 => {
                let moved: Vec<_> = words.drain(at..end).collect();
                let to = random.below(words.len() + 1);
                words.splice(to..to, moved);
            }
            3 if at < words.len() => words[at] = known[random.below(known.len())],
            4 if at < words.len() => words[at] = words[random.below(words.len())],
            _ => words.insert(at, known[random.below(known.len())]),
        }
    }
    words.join(" ")
}

fn split(mut program: &str) -> Vec<&str> {
    let mut words = Vec::new();
    loop {
        program = program.trim_start();
        let Some(first) = program.chars().next() else { return words };
        let is_word = |char: char| char.is_alphanumeric() || "_'".contains(char);
        let length = if first == '"' {
            program[1..].find('"').map_or(program.len(), |end| end + 2)
        } else if is_word(first) {
            program.find(|char| !is_word(char)).unwrap_or(program.len())
        } else if ["::", "->", "..", "//"].iter().any(|long| program.starts_with(long)) {
            if program.starts_with("//") { program.find('\n').unwrap_or(program.len()) } else { 2 }
        } else {
            first.len_utf8()
        };
        let (word, rest) = program.split_at(length);
        if !word.starts_with("//") {
            words.push(word);
        }
        program = rest;
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % limit.max(1) as u64) as usize
    }
}
