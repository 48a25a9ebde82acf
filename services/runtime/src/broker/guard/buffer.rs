//! The bytes that came from the broker and are not given to lapin yet.

/// How many bytes are read from the socket at once.
const READ_BYTES: usize = 32 * 1024;

/// Bytes in three parts: given away, checked, and not checked yet.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// It keeps the greatest length that it ever needed.
    bytes: Vec<u8>,
    /// Where the checked bytes start. Those before were given away.
    given: usize,
    /// Where the unchecked bytes start.
    checked: usize,
    /// Where the unchecked bytes end. Those behind have no meaning.
    end: usize,
}

impl Buffer {
    /// Free space for the next read.
    pub fn spare(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.given..self.end, 0);
        self.checked -= self.given;
        self.end -= self.given;
        self.given = 0;
        if self.bytes.len() < self.end + READ_BYTES {
            self.bytes.resize(self.end + READ_BYTES, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Adds the first bytes of the free space to the unchecked ones.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Moves checked bytes out, as many as fit. Returns their number.
    pub fn give(&mut self, to: &mut [u8]) -> usize {
        let count = to.len().min(self.checked - self.given);
        to[..count].copy_from_slice(&self.bytes[self.given..self.given + count]);
        self.given += count;
        count
    }

    /// The bytes that are not checked yet.
    pub fn unchecked(&self) -> &[u8] {
        &self.bytes[self.checked..self.end]
    }

    /// The bytes that are not checked yet, to be changed in place.
    pub fn unchecked_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.checked..self.end]
    }

    /// Marks the next bytes as checked.
    pub fn pass(&mut self, count: usize) {
        self.checked += count;
    }

    /// Removes the next unchecked bytes.
    pub fn remove(&mut self, count: usize) {
        if count > 0 {
            let rest = self.checked + count..self.end;
            self.bytes.copy_within(rest, self.checked);
            self.end -= count;
        }
    }

    /// Replaces the next unchecked bytes with others, which count as checked.
    pub fn replace(&mut self, count: usize, with: &[u8]) {
        let range = self.checked..self.checked + count;
        self.bytes.splice(range, with.iter().copied());
        self.checked += with.len();
        self.end = self.end - count + with.len();
    }
}
