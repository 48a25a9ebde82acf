//! Keeps away from lapin's parser what would end the connection, or the process.
//!
//! The guard stands in the byte stream that comes from the broker. It reads frames, not messages:
//!
//! - A content header that lapin can't parse, or that is too large, is replaced by one whose only
//!   property is the header [`UNREADABLE_PROPERTIES`]. The body stays. The worker then sees a message
//!   that it refuses by name, and nobody else is touched.
//! - A body that is too large is left out, and the header [`UNREADABLE_BODY`] holds its size.
//! - Bytes that are not UTF-8 in a routing key or another name become `?`.
//! - Where a [`Window`] is full, the next delivery waits, and with it the socket.
//!
//! Everything else passes byte for byte.

use std::{collections::HashMap, sync::Arc};

use super::{
    header::{self, FIXED_BYTES, MAX_HEADER_BYTES, check_content_header},
    names,
    window::Window,
};

/// The header of a message whose properties could not be read: `true`.
pub const UNREADABLE_PROPERTIES: &str = "x-unreadable-properties";
/// The header of a message whose body was too large: its size in bytes.
pub const UNREADABLE_BODY: &str = "x-unreadable-body";
/// The largest body that is taken, unless said otherwise. A command's is below 512 KiB, even if each
/// character of its details is escaped; a message of many replies is larger.
pub const MAX_BODY_BYTES: u64 = 8 * 1024 * 1024;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;
const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, FRAME_END];
/// Type, channel and size.
const FRAME_START: usize = 7;
/// More than any method of the broker takes.
const MAX_METHOD_BYTES: usize = 64 * 1024;
/// How much is read at once.
const READ_BYTES: usize = 32 * 1024;
const DELIVER: [u8; 4] = [0, 60, 0, 60];
const TUNE: [u8; 4] = [0, 10, 0, 30];

/// What no broker sends: the connection can't be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A method that is larger than any that there is.
    #[error("the broker sent a method that is too large")]
    MethodTooLarge,
    /// A content header that has no room for a body's size.
    #[error("the broker sent a content header that is too short")]
    HeaderTooShort,
}

/// Checks a stream of frames. Bytes come in by [`Guard::spare`] and [`Guard::filled`], and leave by
/// [`Guard::give`].
#[derive(Debug)]
pub struct Guard {
    /// As long as it ever had to be; from `given` to `checked` may be given, from there to `end` is
    /// not checked yet.
    buffer: Vec<u8>,
    given: usize,
    checked: usize,
    end: usize,
    /// How many bytes of a frame are still to pass, or to be left out.
    pass: usize,
    leave_out: usize,
    /// How many bytes of a body are still to be left out, by channel.
    bodies_left_out: HashMap<[u8; 2], u64>,
    max_header_bytes: usize,
    max_body_bytes: u64,
    window: Option<Arc<Window>>,
    is_waiting: bool,
}

/// The start of a frame.
#[derive(Clone, Copy)]
struct Frame {
    kind: u8,
    channel: [u8; 2],
    size: usize,
}

impl Guard {
    /// A guard for a connection whose client asks for frames of this size. A smaller size of the
    /// broker's is heard on the way.
    #[must_use]
    pub fn new(frame_max: u32, max_body_bytes: u64, window: Option<Arc<Window>>) -> Self {
        let mut guard = Self {
            buffer: Vec::new(),
            given: 0,
            checked: 0,
            end: 0,
            pass: 0,
            leave_out: 0,
            bodies_left_out: HashMap::new(),
            max_header_bytes: MAX_HEADER_BYTES,
            max_body_bytes,
            window,
            is_waiting: false,
        };
        guard.limit_frames(frame_max);
        guard
    }

    /// Where bytes from the broker go.
    pub fn spare(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.given..self.end, 0);
        self.checked -= self.given;
        self.end -= self.given;
        self.given = 0;
        if self.buffer.len() < self.end + READ_BYTES {
            self.buffer.resize(self.end + READ_BYTES, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Says that so many bytes came.
    ///
    /// # Errors
    /// The stream makes no sense any more.
    pub fn filled(&mut self, bytes: usize) -> Result<(), Broken> {
        self.end = (self.end + bytes).min(self.buffer.len());
        self.check()
    }

    /// Hands out what was checked. Returns how many bytes.
    pub fn give(&mut self, to: &mut [u8]) -> usize {
        let bytes = to.len().min(self.checked - self.given);
        to[..bytes].copy_from_slice(&self.buffer[self.given..self.given + bytes]);
        self.given += bytes;
        bytes
    }

    /// Where the next delivery has to wait for room, and all behind it: what it waits for.
    #[must_use]
    pub fn waits_for(&self) -> Option<Arc<Window>> {
        self.window.clone().filter(|_| self.is_waiting)
    }

    /// Goes on after a wait.
    ///
    /// # Errors
    /// As [`Guard::filled`].
    pub fn resume(&mut self) -> Result<(), Broken> {
        self.is_waiting = false;
        self.check()
    }

    /// Lets lapin know that the broker is there while a delivery waits for room. The broker's own
    /// heartbeats stand behind it.
    pub fn add_heartbeat(&mut self) {
        // A delivery waits at the end of a frame.
        if self.is_waiting {
            self.replace(0, &HEARTBEAT);
        }
    }

    fn check(&mut self) -> Result<(), Broken> {
        loop {
            let there = self.end - self.checked;
            let pass = self.pass.min(there);
            self.checked += pass;
            self.pass -= pass;
            let leave_out = self.leave_out.min(there - pass);
            self.leave_out -= leave_out;
            self.cut(leave_out);
            if self.pass > 0 || self.leave_out > 0 {
                return Ok(());
            }
            let Some(frame) = self.next_frame() else {
                return Ok(());
            };
            let is_done = match frame.kind {
                METHOD => self.method(frame)?,
                HEADER => self.header(frame)?,
                BODY => self.body(frame),
                _ => self.pass(frame),
            };
            if !is_done {
                return Ok(());
            }
        }
    }

    fn next_frame(&self) -> Option<Frame> {
        match *self.unchecked() {
            [kind, a, b, s1, s2, s3, s4, ..] => Some(Frame {
                kind,
                channel: [a, b],
                size: number(&[s1, s2, s3, s4]),
            }),
            _ => None,
        }
    }

    fn unchecked(&self) -> &[u8] {
        &self.buffer[self.checked..self.end]
    }

    fn pass(&mut self, frame: Frame) -> bool {
        self.pass = frame.size.saturating_add(FRAME_START + 1);
        true
    }

    fn body(&mut self, frame: Frame) -> bool {
        let Some(left) = self.bodies_left_out.get_mut(&frame.channel) else {
            return self.pass(frame);
        };
        *left = left.saturating_sub(frame.size as u64);
        if *left == 0 {
            self.bodies_left_out.remove(&frame.channel);
        }
        self.leave_out = frame.size.saturating_add(FRAME_START + 1);
        true
    }

    /// False: it is not all there, or has to wait.
    fn method(&mut self, frame: Frame) -> Result<bool, Broken> {
        if frame.size > MAX_METHOD_BYTES {
            return Err(Broken::MethodTooLarge);
        }
        let whole = FRAME_START + frame.size + 1;
        if self.unchecked().len() < whole {
            return Ok(false);
        }
        let start = self.checked + FRAME_START;
        let payload = &mut self.buffer[start..start + frame.size];
        if payload.starts_with(&DELIVER) && self.window.as_ref().is_some_and(|it| it.is_full()) {
            self.is_waiting = true;
            return Ok(false);
        }
        names::make_utf8(payload);
        if let Some(limits) = payload.strip_prefix(&TUNE)
            && let Some(frame_max) = limits.get(2..6)
        {
            let frame_max = u32::try_from(number(frame_max)).unwrap_or_default();
            self.limit_frames(frame_max);
        }
        self.bodies_left_out.remove(&frame.channel);
        self.checked += whole;
        Ok(true)
    }

    /// False: it is not all there.
    fn header(&mut self, frame: Frame) -> Result<bool, Broken> {
        if frame.size < FIXED_BYTES + 2 {
            return Err(Broken::HeaderTooShort);
        }
        // What is too large is not collected: its end is left out as it comes.
        let is_too_large = frame.size > self.max_header_bytes;
        let read = if is_too_large {
            FIXED_BYTES
        } else {
            frame.size + 1
        };
        if self.unchecked().len() < FRAME_START + read {
            return Ok(false);
        }
        let payload = &self.unchecked()[FRAME_START..];
        let class = [payload[0], payload[1]];
        let body_size = number(&payload[4..FIXED_BYTES]) as u64;
        let payload = &payload[..read.min(frame.size)];
        let unreadable = is_too_large || check_content_header(payload).is_err();
        let body_is_too_large = body_size > self.max_body_bytes;
        if let Some(window) = &self.window {
            window.add(if body_is_too_large { 0 } else { body_size });
        }
        if !unreadable && !body_is_too_large {
            self.checked += FRAME_START + read;
            return Ok(true);
        }
        let mut payload = if unreadable {
            header::marked(class, body_size, UNREADABLE_PROPERTIES)
        } else {
            payload.to_vec()
        };
        if body_is_too_large {
            let size = header::number_field(UNREADABLE_BODY, body_size);
            payload = header::with_header(&payload, &size);
            payload[4..FIXED_BYTES].fill(0);
            self.bodies_left_out.insert(frame.channel, body_size);
        }
        self.replace(FRAME_START + read, &header_frame(frame.channel, &payload));
        if is_too_large {
            self.leave_out = frame.size - FIXED_BYTES + 1;
        }
        Ok(true)
    }

    /// Puts a frame in the place of so many bytes that are not checked yet.
    fn replace(&mut self, bytes: usize, frame: &[u8]) {
        let range = self.checked..self.checked + bytes;
        self.buffer.splice(range, frame.iter().copied());
        self.checked += frame.len();
        self.end = self.end - bytes + frame.len();
    }

    fn cut(&mut self, bytes: usize) {
        if bytes > 0 {
            let rest = self.checked + bytes..self.end;
            self.buffer.copy_within(rest, self.checked);
            self.end -= bytes;
        }
    }

    /// A header that lapin gets has to fit into a frame of the negotiated size. 0: any size.
    fn limit_frames(&mut self, frame_max: u32) {
        if frame_max != 0 {
            let payload = (frame_max as usize).saturating_sub(FRAME_START + 1);
            self.max_header_bytes = self.max_header_bytes.min(payload);
        }
    }
}

fn header_frame(channel: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = vec![HEADER];
    frame.extend(channel);
    frame.extend(size.to_be_bytes());
    frame.extend(payload);
    frame.push(FRAME_END);
    frame
}

fn number(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}
