//! The names in methods: a publisher chooses a routing key, and RabbitMQ passes on whatever bytes it
//! holds. lapin ends the connection at one that is not UTF-8.

/// What stands in a method.
#[derive(Clone, Copy)]
enum Part {
    /// A short string.
    Name,
    /// So many bytes of something else.
    Other(usize),
}

use Part::{Name, Other};

/// Where names stand in the methods that the broker sends. The first bytes are class and method.
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

/// Puts `?` in the place of every byte of a name that is not UTF-8.
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
