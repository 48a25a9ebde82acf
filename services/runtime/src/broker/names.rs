//! Makes the names in methods valid UTF-8.
//!
//! A publisher chooses the bytes of a routing key, and RabbitMQ passes them on unchanged. lapin closes the
//! connection at a name that is not UTF-8.

/// A part of a method's payload.
#[derive(Clone, Copy)]
enum Part {
    /// A short string.
    Name,
    /// This many other bytes.
    Other(usize),
}

use Part::{Name, Other};

/// The start of a method that the broker sends, up to its last name. Its first four bytes, class and
/// method, are left out.
fn layout(payload: &[u8]) -> &'static [Part] {
    match payload {
        // basic.deliver, basic.return, basic.get-ok
        [0, 60, 0, 60, ..] => &[Name, Other(9), Name, Name],
        [0, 60, 0, 50, ..] => &[Other(2), Name, Name, Name],
        [0, 60, 0, 71, ..] => &[Other(9), Name, Name],
        // basic.consume-ok, basic.cancel, queue.declare-ok, connection.blocked
        [0, 60, 0, 21 | 30, ..] | [0, 50, 0, 11, ..] | [0, 10, 0, 60, ..] => &[Name],
        // connection.close, channel.close
        [0, 10, 0, 50, ..] | [0, 20, 0, 40, ..] => &[Other(2), Name],
        _ => &[],
    }
}

/// Replaces every byte of a name that is not UTF-8 with `?`.
pub(super) fn make_utf8(payload: &mut [u8]) {
    let parts = layout(payload);
    let mut at = 4;
    for part in parts {
        match *part {
            Other(bytes) => at += bytes,
            Name => {
                let Some(&length) = payload.get(at) else {
                    return;
                };
                at += 1;
                let end = at + usize::from(length);
                if let Some(name) = payload.get_mut(at..end) {
                    make_text(name);
                }
                at = end;
            }
        }
    }
}

fn make_text(mut name: &mut [u8]) {
    while let Err(error) = str::from_utf8(name) {
        let from = error.valid_up_to();
        let to = error.error_len().map_or(name.len(), |length| from + length);
        name[from..to].fill(b'?');
        name = &mut name[to..];
    }
}
