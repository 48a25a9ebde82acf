//! Keeps messages away from lapin that would end the connection or the process.
//!
//! RabbitMQ passes on messages that lapin can't parse. The guard checks the frames from the broker first:
//!
//! - A content header that lapin can't parse, or that is too large, is replaced by one whose only
//!   property is the header [`UNREADABLE_PROPERTIES`]. The body stays. The worker then refuses this one
//!   message, and all others are delivered as usual.
//! - A body that is too large is removed, and the header [`UNREADABLE_BODY`] holds its size.
//! - Bytes that are not UTF-8 in a routing key or another name become `?`.
//! - While a [`Window`] is full, the next delivery waits, and nothing more is read from the socket.
//!
//! All other bytes pass unchanged.

mod buffer;
mod frame;
mod marks;

use std::{collections::HashMap, sync::Arc};

use self::{
    buffer::Buffer,
    frame::{
        BODY, DELIVER, FRAME_OVERHEAD, FRAME_START, Frame, HEADER, HEARTBEAT, MAX_METHOD_BYTES,
        METHOD, header_frame, number, proposed_frame_max,
    },
};
use super::{
    header::{FIXED_BYTES, MAX_HEADER_BYTES},
    names,
    window::Window,
};

/// The header of a message whose properties could not be read: `true`.
pub const UNREADABLE_PROPERTIES: &str = "x-unreadable-properties";
/// The header of a message whose body was too large: its size in bytes.
pub const UNREADABLE_BODY: &str = "x-unreadable-body";
/// The default limit of a body. It has room for a message with many replies. A command needs less: below
/// 512 KiB, even if each character of its details is escaped.
pub const MAX_BODY_BYTES: u64 = 8 * 1024 * 1024;

/// The broker sent something that is not AMQP. The connection can't be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A method is larger than any that AMQP defines.
    #[error("the broker sent a method that is too large")]
    MethodTooLarge,
    /// A content header has no room for the size of a body.
    #[error("the broker sent a content header that is too short")]
    HeaderTooShort,
}

/// Checks a stream of frames, from [`Guard::spare`] and [`Guard::filled`] to [`Guard::give`].
#[derive(Debug)]
pub struct Guard {
    buffer: Buffer,
    /// How many bytes of the current frame still pass unchecked.
    pass: usize,
    /// How many more bytes of the current frame are removed.
    remove: usize,
    /// How many more bytes of a body that is too large are removed, by channel.
    removed_bodies: HashMap<[u8; 2], u64>,
    max_header_bytes: usize,
    max_body_bytes: u64,
    window: Option<Arc<Window>>,
    is_waiting: bool,
}

/// Whether the check can go on with the next frame.
#[derive(PartialEq, Eq)]
enum Progress {
    Done,
    /// The frame is not complete yet, or has to wait for room in the window.
    Waiting,
}

impl Guard {
    /// `frame_max` is the client's proposal. The guard reads the broker's from `connection.tune`.
    #[must_use]
    pub fn new(frame_max: u32, max_body_bytes: u64, window: Option<Arc<Window>>) -> Self {
        let mut guard = Self {
            buffer: Buffer::default(),
            pass: 0,
            remove: 0,
            removed_bodies: HashMap::new(),
            max_header_bytes: MAX_HEADER_BYTES,
            max_body_bytes,
            window,
            is_waiting: false,
        };
        guard.limit_frames(frame_max);
        guard
    }

    /// Free space for bytes from the broker.
    pub fn spare(&mut self) -> &mut [u8] {
        self.buffer.spare()
    }

    /// Checks bytes that were written to the start of [`Guard::spare`].
    ///
    /// # Errors
    /// The bytes are not AMQP.
    pub fn filled(&mut self, bytes: usize) -> Result<(), Broken> {
        self.buffer.filled(bytes);
        self.check()
    }

    /// Moves checked bytes out, as many as fit. Returns their number.
    pub fn give(&mut self, to: &mut [u8]) -> usize {
        self.buffer.give(to)
    }

    /// The window that the next delivery waits for, if it is full.
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

    /// Inserts a heartbeat while a delivery waits. lapin would close the connection otherwise, because
    /// the broker's own heartbeats are behind the delivery in the stream.
    pub fn add_heartbeat(&mut self) {
        // The unchecked bytes start with the waiting delivery, so this is between two frames.
        if self.is_waiting {
            self.buffer.replace(0, &HEARTBEAT);
        }
    }

    fn check(&mut self) -> Result<(), Broken> {
        loop {
            let available = self.buffer.unchecked().len();
            let pass = self.pass.min(available);
            self.buffer.pass(pass);
            self.pass -= pass;
            let remove = self.remove.min(available - pass);
            self.buffer.remove(remove);
            self.remove -= remove;
            if self.pass > 0 || self.remove > 0 {
                return Ok(());
            }
            let Some(frame) = Frame::read(self.buffer.unchecked()) else {
                return Ok(());
            };
            let progress = match frame.kind {
                METHOD => self.method(frame)?,
                HEADER => self.header(frame)?,
                BODY => self.body(frame),
                _ => self.pass(frame),
            };
            if progress == Progress::Waiting {
                return Ok(());
            }
        }
    }

    fn pass(&mut self, frame: Frame) -> Progress {
        self.pass = frame.whole();
        Progress::Done
    }

    fn body(&mut self, frame: Frame) -> Progress {
        let Some(left) = self.removed_bodies.get_mut(&frame.channel) else {
            return self.pass(frame);
        };
        *left = left.saturating_sub(frame.size as u64);
        if *left == 0 {
            self.removed_bodies.remove(&frame.channel);
        }
        self.remove = frame.whole();
        Progress::Done
    }

    fn method(&mut self, frame: Frame) -> Result<Progress, Broken> {
        if frame.size > MAX_METHOD_BYTES {
            return Err(Broken::MethodTooLarge);
        }
        if self.buffer.unchecked().len() < frame.whole() {
            return Ok(Progress::Waiting);
        }
        let payload = &mut self.buffer.unchecked_mut()[FRAME_START..FRAME_START + frame.size];
        if payload.starts_with(&DELIVER) && self.window.as_ref().is_some_and(|it| it.is_full()) {
            self.is_waiting = true;
            return Ok(Progress::Waiting);
        }
        names::make_utf8(payload);
        if let Some(frame_max) = proposed_frame_max(payload) {
            self.limit_frames(frame_max);
        }
        // A new method on the channel means that the body before it is complete.
        self.removed_bodies.remove(&frame.channel);
        self.buffer.pass(frame.whole());
        Ok(Progress::Done)
    }

    fn header(&mut self, frame: Frame) -> Result<Progress, Broken> {
        if frame.size < FIXED_BYTES + 2 {
            return Err(Broken::HeaderTooShort);
        }
        // A header that is too large is not collected. Its rest is removed as it arrives.
        let header_is_too_large = frame.size > self.max_header_bytes;
        let read = if header_is_too_large {
            FIXED_BYTES
        } else {
            frame.size + 1
        };
        if self.buffer.unchecked().len() < FRAME_START + read {
            return Ok(Progress::Waiting);
        }
        let payload = &self.buffer.unchecked()[FRAME_START..];
        let body = number(&payload[4..FIXED_BYTES]) as u64;
        let size = marks::Size {
            header_is_too_large,
            body,
            body_is_too_large: body > self.max_body_bytes,
        };
        let replacement = marks::replacement(&payload[..read.min(frame.size)], size);
        if let Some(window) = &self.window {
            window.add(if size.body_is_too_large { 0 } else { body });
        }
        let Some(replacement) = replacement else {
            self.buffer.pass(FRAME_START + read);
            return Ok(Progress::Done);
        };
        if size.body_is_too_large {
            self.removed_bodies.insert(frame.channel, body);
        }
        let new_frame = header_frame(frame.channel, &replacement);
        self.buffer.replace(FRAME_START + read, &new_frame);
        if header_is_too_large {
            self.remove = frame.size - FIXED_BYTES + 1;
        }
        Ok(Progress::Done)
    }

    /// A header that lapin reads has to fit into a frame of the negotiated size. 0 means any size.
    fn limit_frames(&mut self, frame_max: u32) {
        if frame_max != 0 {
            let payload = (frame_max as usize).saturating_sub(FRAME_OVERHEAD);
            self.max_header_bytes = self.max_header_bytes.min(payload);
        }
    }
}
