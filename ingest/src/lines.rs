//! Lines out of a file or a pipe. A thread of its own reads, so that whoever takes the lines can look after other things
//! while a slow writer lets it wait.

use std::io::{BufRead as _, ErrorKind, Read};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::pipeline::now_us;

/// The source is asked for so many bytes at once; a pipe has fewer mostly.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait for being taken.
const PIECES_WAITING: usize = 4;

type Piece = std::io::Result<Vec<u8>>;

/// What came of asking for a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'l> {
    Line(Line<'l>),
    /// None came in time.
    Nothing,
    End,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'l> {
    /// Without what separates it from the next, unless it is cut.
    pub bytes: &'l [u8],
    /// Whether it is longer than is kept of it.
    pub is_cut: bool,
    /// How many bytes of the source it took, all told.
    pub bytes_read: u64,
    pub arrival_us: i64,
}

pub(crate) struct Lines {
    pieces: Receiver<Piece>,
    piece: Vec<u8>,
    /// How much of the piece is taken.
    taken: usize,
    arrival_us: i64,
    line: Vec<u8>,
    line_bytes_max: usize,
    bytes_read: u64,
    is_cut: bool,
}

impl Lines {
    pub fn of(source: impl Read + Send + 'static, line_bytes_max: usize) -> Self {
        let (sender, pieces) = bounded(PIECES_WAITING);
        let reading = std::thread::Builder::new().name("read".to_owned());
        // It may wait for its source for ever, so nobody waits for it.
        reading.spawn(move || read_pieces(source, &sender)).expect("the system can start a thread");
        let arrival_us = now_us();
        Self {
            pieces,
            piece: Vec::new(),
            taken: 0,
            arrival_us,
            line: Vec::new(),
            line_bytes_max,
            bytes_read: 0,
            is_cut: false,
        }
    }

    /// The next line. Waits so long for each of its pieces at most, and goes on with it when asked again.
    pub fn next(&mut self, wait: Duration) -> std::io::Result<Next<'_>> {
        while !self.take_to_line_end()? {
            match self.fetch(wait)? {
                Fetched::Piece => {}
                Fetched::Nothing => return Ok(Next::Nothing),
                Fetched::End if self.bytes_read == 0 => return Ok(Next::End),
                Fetched::End => break,
            }
        }
        let is_cut = std::mem::take(&mut self.is_cut);
        let bytes_read = std::mem::take(&mut self.bytes_read);
        let bytes = if is_cut { &self.line[..] } else { self.line.trim_ascii() };
        Ok(Next::Line(Line { bytes, is_cut, bytes_read, arrival_us: self.arrival_us }))
    }

    /// Whether it is known that nothing is left.
    pub fn has_ended(&mut self) -> std::io::Result<bool> {
        let is_taken = self.bytes_read == 0 && self.taken == self.piece.len();
        Ok(is_taken && self.fetch(Duration::ZERO)? == Fetched::End)
    }

    /// Moves what there is of the current line over; true when it ended.
    fn take_to_line_end(&mut self) -> std::io::Result<bool> {
        if self.bytes_read == 0 {
            self.line.clear();
        }
        let before = &self.piece[self.taken..];
        let mut rest = before;
        let room = self.line_bytes_max - self.line.len();
        let kept = (&mut rest).take(room as u64).read_until(b'\n', &mut self.line)?;
        let mut ended = kept > 0 && self.line.last() == Some(&b'\n');
        if !ended && self.line.len() == self.line_bytes_max && !rest.is_empty() {
            self.is_cut = true;
            rest.skip_until(b'\n')?;
            ended = before[before.len() - rest.len() - 1] == b'\n';
        }
        let moved = before.len() - rest.len();
        self.taken += moved;
        self.bytes_read += moved as u64;
        Ok(ended)
    }

    /// Gets the next piece once the last one is taken.
    fn fetch(&mut self, wait: Duration) -> std::io::Result<Fetched> {
        match self.pieces.recv_timeout(wait) {
            Ok(piece) => {
                self.piece = piece?;
                self.taken = 0;
                // Only now: what waited until there was room is not older than what was taken before it.
                self.arrival_us = now_us();
                Ok(Fetched::Piece)
            }
            Err(RecvTimeoutError::Timeout) => Ok(Fetched::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Fetched::End),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetched {
    Piece,
    Nothing,
    End,
}

/// Reads until the source ends or fails, or nobody wants its pieces any more.
fn read_pieces(mut source: impl Read, pieces: &Sender<Piece>) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let piece = match source.read(&mut piece) {
            Ok(0) => return,
            Ok(bytes) => {
                piece.truncate(bytes);
                Ok(piece)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = piece.is_err();
        if pieces.send(piece).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Hands on one text at each call.
    struct Texts(VecDeque<&'static str>);

    impl Read for Texts {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let text = self.0.pop_front().unwrap_or_default();
            buffer[..text.len()].copy_from_slice(text.as_bytes());
            Ok(text.len())
        }
    }

    const LONG: Duration = Duration::from_mins(1);

    /// Lines as text, those that are cut with a mark, and how many bytes were read in all.
    fn lines_of(texts: &[&'static str], line_bytes_max: usize) -> (Vec<String>, u64) {
        let mut lines = Lines::of(Texts(texts.iter().copied().collect()), line_bytes_max);
        let (mut found, mut bytes) = (Vec::new(), 0);
        loop {
            match lines.next(LONG).unwrap() {
                Next::Line(line) => {
                    let mark = if line.is_cut { "…" } else { "" };
                    found.push(format!("{}{mark}", std::str::from_utf8(line.bytes).unwrap()));
                    bytes += line.bytes_read;
                }
                Next::Nothing => panic!("nothing came in a minute"),
                Next::End => {
                    assert!(lines.has_ended().unwrap());
                    return (found, bytes);
                }
            }
        }
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        for (texts, expected) in [
            (&[][..], &[][..]),
            (&["a\nb\n"], &["a", "b"]),
            (&["a\nb"], &["a", "b"]),
            (&["a", "b", "\n", "c\n\nd"], &["ab", "c", "", "d"]),
            (&["\n"], &[""]),
            (&[" a\r\n", "\t\n"], &["a", ""]),
        ] {
            let bytes = texts.iter().map(|text| text.len() as u64).sum();
            assert_eq!(lines_of(texts, 100), (expected.iter().map(|it| (*it).to_owned()).collect(), bytes));
        }
    }

    /// The tail of a line that is too long is not another line.
    #[test]
    fn of_a_line_that_is_too_long_the_beginning_is_kept() {
        for (texts, expected) in [
            (&["12345\n1234\n"][..], &["1234…", "1234…"][..]),
            (&["123\n", "12345678", "9\n1\n"], &["123", "1234…", "1"]),
            (&["1234", "5", "6", "7\n", "1\n"], &["1234…", "1"]),
            (&["1234", "5"], &["1234…"]),
            (&["1234", "\n", "1\n"], &["1234…", "1"]),
            (&["   4567\n"], &["   4…"]),
        ] {
            let bytes = texts.iter().map(|text| text.len() as u64).sum();
            let expected = expected.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(lines_of(texts, 4), (expected, bytes), "{texts:?}");
        }
    }

    #[test]
    fn one_can_look_elsewhere_while_nothing_comes() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut lines = Lines::of(reader, 100);
        let short = Duration::from_millis(1);
        assert_eq!(lines.next(short).unwrap(), Next::Nothing);
        std::io::Write::write_all(&mut writer, b"first\nsec").unwrap();
        let Next::Line(first) = lines.next(LONG).unwrap() else { panic!("it came") };
        let (bytes, first_us) = (first.bytes.to_vec(), first.arrival_us);
        assert_eq!(bytes, b"first");
        assert_eq!(lines.next(short).unwrap(), Next::Nothing);
        assert!(!lines.has_ended().unwrap());
        let before_us = now_us();
        std::io::Write::write_all(&mut writer, b"ond\n").unwrap();
        let Next::Line(second) = lines.next(LONG).unwrap() else { panic!("it came") };
        assert_eq!(second.bytes, b"second");
        assert!(first_us < before_us && before_us <= second.arrival_us, "it arrived when its end came");
        assert_eq!(lines.next(short).unwrap(), Next::Nothing);
        drop(writer);
        assert_eq!(lines.next(LONG).unwrap(), Next::End);
    }
}
