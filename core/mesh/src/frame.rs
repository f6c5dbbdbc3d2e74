//! Frames on a small link: a datagram cut into pieces, and put together again.
//!
//! Byte 0 of a frame is `START 0x80 | END 0x40 | sequence (6 bits)`; a START frame then carries the datagram's length
//! (u16, little-endian). The sequence counts frames and wraps; it starts at 0 when the link comes up. The length
//! detects truncation, which some platforms do silently. Some reorder frames by a few places (BlueZ with several
//! EATT channels), so up to [`REORDER_WINDOW`] early frames are held.

use std::collections::{BTreeMap, VecDeque};

const START: u8 = 0x80;
const END: u8 = 0x40;
const SEQUENCE: u8 = 0x3f;
const SEQUENCES: usize = 64;
/// Early frames that are held until the missing one comes; then it counts as lost.
pub const REORDER_WINDOW: usize = 16;
/// The longest datagram: what QUIC fits into an Ethernet frame.
pub const DATAGRAM_BYTES_MAX: usize = 1472;

/// Cuts datagrams into frames of at most a given length and queues them.
#[derive(Debug)]
pub struct Cutter {
    frame_bytes_max: usize,
    sequence: u8,
    queue: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Cutter {
    /// Frames of at most `frame_bytes_max` bytes, header included; at least 4.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max: frame_bytes_max.max(4), sequence: 0, queue: VecDeque::new(), bytes: 0 }
    }

    /// Queues the frames of a datagram. One of no bytes or more than [`DATAGRAM_BYTES_MAX`] is dropped: QUIC makes none.
    pub fn push(&mut self, datagram: &[u8]) {
        let Ok(length) = u16::try_from(datagram.len()) else { return };
        if datagram.is_empty() || datagram.len() > DATAGRAM_BYTES_MAX {
            return;
        }
        let mut rest = datagram;
        let mut header = START;
        while !rest.is_empty() {
            let mut frame = Vec::with_capacity(self.frame_bytes_max);
            frame.push(header);
            if header == START {
                frame.extend(length.to_le_bytes());
            }
            let (piece, after) = rest.split_at(rest.len().min(self.frame_bytes_max - frame.len()));
            frame.extend(piece);
            let end = if after.is_empty() { END } else { 0 };
            frame[0] |= end | self.sequence;
            self.sequence = (self.sequence + 1) & SEQUENCE;
            self.bytes += frame.len();
            self.queue.push_back(frame);
            (rest, header) = (after, 0);
        }
    }

    /// The frame to send next.
    pub fn front(&self) -> Option<&[u8]> {
        self.queue.front().map(Vec::as_slice)
    }

    /// Forgets the frame that was sent.
    pub fn pop(&mut self) {
        if let Some(frame) = self.queue.pop_front() {
            self.bytes -= frame.len();
        }
    }

    /// Forgets every frame.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Puts frames together again.
#[derive(Debug, Default)]
pub struct Assembler {
    expected: u8,
    early: BTreeMap<u8, Vec<u8>>,
    datagram: Option<Partial>,
    lost: u64,
}

#[derive(Debug)]
struct Partial {
    length: usize,
    bytes: Vec<u8>,
}

impl Assembler {
    /// Takes a frame; gives the datagrams that are whole now.
    pub fn push(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        let Some(&header) = frame.first() else { return whole };
        let sequence = header & SEQUENCE;
        let ahead = sequence.wrapping_sub(self.expected) & SEQUENCE;
        if usize::from(ahead) > REORDER_WINDOW {
            // More is missing than the window: what is held belongs to the past. A frame from just behind is a late
            // one, unless it begins a datagram: late ones are gone for good, so a beginning is where to go on.
            let is_late = usize::from(ahead) >= SEQUENCES - REORDER_WINDOW;
            if header & START != 0 || !is_late {
                self.flush_early(&mut whole);
                self.skip_to(sequence);
                self.take(frame, &mut whole);
            }
            return whole;
        }
        if ahead > 0 {
            self.early.insert(sequence, frame.to_vec());
            if self.early.len() >= REORDER_WINDOW {
                self.flush_early(&mut whole);
            }
            return whole;
        }
        self.take(frame, &mut whole);
        while let Some(frame) = self.early.remove(&self.expected) {
            self.take(&frame, &mut whole);
        }
        whole
    }

    /// Datagrams given up so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes every held frame in order, counting what is missing between them as lost.
    fn flush_early(&mut self, whole: &mut Vec<Vec<u8>>) {
        while !self.early.is_empty() {
            let expected = self.expected;
            let nearest = self.early.keys().min_by_key(|at| at.wrapping_sub(expected) & SEQUENCE).copied();
            let nearest = nearest.expect("the loop runs while something is held");
            if nearest != expected {
                self.skip_to(nearest);
            }
            let frame = self.early.remove(&nearest).expect("the key was just found");
            self.take(&frame, whole);
        }
    }

    fn skip_to(&mut self, sequence: u8) {
        self.give_up();
        self.expected = sequence;
    }

    /// Takes the expected frame.
    fn take(&mut self, frame: &[u8], whole: &mut Vec<Vec<u8>>) {
        let (header, body) = (frame[0], &frame[1..]);
        self.expected = (self.expected + 1) & SEQUENCE;
        if header & START != 0 {
            self.give_up();
            let Some((length, body)) = body.split_first_chunk::<2>() else {
                self.lost += 1;
                return;
            };
            let length = usize::from(u16::from_le_bytes(*length));
            if length > DATAGRAM_BYTES_MAX {
                self.lost += 1;
                return;
            }
            self.datagram = Some(Partial { length, bytes: body.to_vec() });
        } else if let Some(datagram) = &mut self.datagram {
            datagram.bytes.extend_from_slice(body);
        }
        let Some(datagram) = &self.datagram else { return };
        let (found, expected) = (datagram.bytes.len(), datagram.length);
        if found > expected || (header & END != 0 && found != expected) {
            self.give_up();
        } else if header & END != 0 {
            whole.extend(self.datagram.take().map(|datagram| datagram.bytes));
        }
    }

    /// Gives up the datagram that is not whole yet, if there is one.
    fn give_up(&mut self) {
        if self.datagram.take().is_some() {
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(datagrams: &[Vec<u8>], frame_bytes_max: usize) -> Vec<Vec<u8>> {
        let mut cutter = Cutter::new(frame_bytes_max);
        datagrams.iter().for_each(|datagram| cutter.push(datagram));
        let mut frames = Vec::new();
        while let Some(frame) = cutter.front() {
            frames.push(frame.to_vec());
            cutter.pop();
        }
        assert_eq!(cutter.bytes(), 0);
        frames
    }

    fn assemble(frames: &[Vec<u8>]) -> (Vec<Vec<u8>>, u64) {
        let mut assembler = Assembler::default();
        let whole = frames.iter().flat_map(|frame| assembler.push(frame)).collect();
        (whole, assembler.lost())
    }

    #[test]
    fn a_truncated_frame_loses_one_datagram_only() {
        let mut frames = frames(&[vec![7; 50], vec![8; 50]], 20);
        frames[1].pop();
        assert_eq!(assemble(&frames), (vec![vec![8; 50]], 1));
    }

    #[test]
    fn a_lost_frame_loses_one_datagram_only() {
        let datagrams: Vec<Vec<u8>> = (1..=10).map(|n| vec![n; 60]).collect();
        let mut frames = frames(&datagrams, 20);
        frames.remove(1);
        let (whole, lost) = assemble(&frames);
        assert_eq!(whole, datagrams[1..]);
        assert_eq!(lost, 1);
    }

    /// However many frames are missing, the link goes on: at the latest when the window is full.
    #[test]
    fn a_gap_of_any_length_loses_at_most_a_window() {
        let datagrams: Vec<Vec<u8>> = (0..100).map(|n| vec![n; 60]).collect();
        let frames = frames(&datagrams, 20);
        for gap in 1..150 {
            let with_gap = [&frames[..8], &frames[8 + gap..]].concat();
            let (whole, lost) = assemble(&with_gap);
            assert!(lost <= 1 + 1 + REORDER_WINDOW as u64 / 4, "{gap}: {lost}");
            assert_eq!(whole.last(), datagrams.last(), "{gap}");
            assert!(whole.len() + gap.div_ceil(4) + 1 + REORDER_WINDOW / 4 >= datagrams.len(), "{gap}");
        }
    }

    #[test]
    fn a_length_over_the_bound_is_refused() {
        let mut assembler = Assembler::default();
        assert!(assembler.push(&[START, 0xff, 0xff, 1]).is_empty());
        assert_eq!(assembler.lost(), 1);
        assert!(assembler.push(&[]).is_empty());
        assert!(assembler.push(&[START | 1]).is_empty());
        assert_eq!(assembler.lost(), 2);
    }

    proptest! {
        #[test]
        fn what_is_cut_is_put_together(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=DATAGRAM_BYTES_MAX), 1..8),
            frame_bytes_max in 20usize..=512,
        ) {
            let frames = frames(&datagrams, frame_bytes_max);
            prop_assert!(frames.iter().all(|frame| frame.len() <= frame_bytes_max));
            prop_assert_eq!(assemble(&frames), (datagrams, 0));
        }

        /// Blocks of up to 16 frames arrive in any order inside: nothing is lost.
        #[test]
        fn reordering_inside_the_window_loses_nothing(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..400), 1..20),
            keys in prop::collection::vec(any::<u32>(), 16),
        ) {
            let mut frames = frames(&datagrams, 20);
            for block in frames.chunks_mut(REORDER_WINDOW) {
                let mut order: Vec<usize> = (0..block.len()).collect();
                order.sort_by_key(|at| keys[*at]);
                let shuffled: Vec<Vec<u8>> = order.iter().map(|at| block[*at].clone()).collect();
                block.clone_from_slice(&shuffled);
            }
            prop_assert_eq!(assemble(&frames), (datagrams, 0));
        }

        #[test]
        fn arbitrary_frames_never_panic_and_stay_bounded(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..200),
        ) {
            let mut assembler = Assembler::default();
            for frame in &frames {
                for datagram in assembler.push(frame) {
                    prop_assert!(datagram.len() <= DATAGRAM_BYTES_MAX);
                }
                prop_assert!(assembler.early.len() < REORDER_WINDOW + 1);
            }
        }
    }
}
