//! A pseudoterminal whose screen the test can read.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{FdFlags, fcntl_setfd},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

/// How long a test waits for each event before it fails.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Terminal {
    ours: File,
    theirs: File,
    /// Bytes of a character or control sequence that is not complete yet.
    unread: Vec<u8>,
    lines: Vec<Vec<char>>,
    /// Line and column of the next character, from 0.
    cursor: (usize, usize),
    /// Whether a program uses the alternate screen.
    pub(crate) is_taken: bool,
}

impl Terminal {
    pub(crate) fn open(columns: u16, rows: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        // Programs must not inherit our side, so that the terminal hangs up as soon as we close it.
        fcntl_setfd(&ours, FdFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let (unread, cursor) = (Vec::new(), (0, 0));
        let mut terminal = Self { ours: ours.into(), theirs, unread, lines: Vec::new(), cursor, is_taken: false };
        terminal.resize(columns, rows);
        terminal
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.lines = vec![vec![' '; columns.into()]; rows.into()];
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.ours, size).unwrap();
    }

    /// Returns the side of the program.
    pub(crate) fn stdio(&self) -> Stdio {
        self.theirs.try_clone().unwrap().into()
    }

    /// Whether the terminal is in cooked mode: input is line-buffered and echoed, as a shell expects.
    pub(crate) fn is_cooked(&self) -> bool {
        tcgetattr(&self.theirs).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until a line of the screen contains all of these texts, and returns it.
    pub(crate) fn until(&mut self, parts: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let lines: Vec<String> = self.lines.iter().map(|line| line.iter().collect()).collect();
            if let Some(line) = lines.iter().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.clone();
            }
            let left = TEST_TIMEOUT.checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("no {parts:?} in\n{}", lines.join("\n")));
            let ready = &mut [PollFd::new(&self.ours, PollFlags::IN)];
            if poll(ready, Some(&Timespec::try_from(left).unwrap())).unwrap() > 0 {
                let mut piece = [0; 4096];
                let read = self.ours.read(&mut piece).unwrap();
                self.unread.extend(&piece[..read]);
                self.show();
            }
        }
    }

    /// Updates the screen with all complete characters and sequences.
    fn show(&mut self) {
        let whole = match std::str::from_utf8(&self.unread) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let text = String::from_utf8(self.unread[..whole].to_vec()).unwrap();
        let mut rest = text.as_str();
        while let Some(next) = rest.chars().next() {
            if let Some(sequence) = rest.strip_prefix("\x1b[") {
                let Some(end) = sequence.find(|char: char| ('@'..='~').contains(&char)) else { break };
                self.execute(&sequence[..end], &sequence[end..=end]);
                rest = &sequence[end + 1..];
            } else if rest == "\x1b" {
                break;
            } else {
                self.put(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        self.unread.drain(..whole - rest.len());
    }

    /// Executes one of the control sequences (ECMA-48, section 5.4) that the program sends.
    fn execute(&mut self, parameters: &str, function: &str) {
        match (parameters, function) {
            ("?1049", "h") => self.is_taken = true,
            ("?1049", "l") => self.is_taken = false,
            ("2", "J") => self.lines.iter_mut().for_each(|line| line.fill(' ')),
            (place, "H") => {
                let mut place = place.split(';').map(|number| number.parse().unwrap_or(1));
                let mut next = || place.next().unwrap_or(1_usize).max(1) - 1;
                self.cursor = (next(), next());
            }
            // Colours and other sequences that do not move the cursor.
            _ => {}
        }
    }

    fn put(&mut self, char: char) {
        let (line, column) = &mut self.cursor;
        match char {
            '\n' => *line = (*line + 1).min(self.lines.len() - 1),
            '\r' => *column = 0,
            _ => {
                if let Some(cell) = self.lines.get_mut(*line).and_then(|line| line.get_mut(*column)) {
                    *cell = char;
                }
                *column += 1;
            }
        }
    }
}
