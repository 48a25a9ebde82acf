//! An AMQP publisher that sends any bytes as properties: what no client library would let through.
//!
//! It speaks just enough of AMQP 0-9-1 to open one channel, publish with confirms, and read the
//! broker's answers. It does not check what it sends.

use anyhow::{Context as _, bail, ensure};
use lapin::uri::AMQPUri;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xCE;
const BASIC: u16 = 60;
const CHANNEL: u16 = 1;

const START: (u16, u16) = (10, 10);
const TUNE: (u16, u16) = (10, 30);
const OPEN_OK: (u16, u16) = (10, 41);
const CHANNEL_OPEN_OK: (u16, u16) = (20, 11);
const SELECT_OK: (u16, u16) = (85, 11);
const RETURN: (u16, u16) = (60, 50);
const ACK: (u16, u16) = (60, 80);
const NACK: (u16, u16) = (60, 120);

/// The broker's confirmation of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// It is in a queue.
    Ack,
    /// The broker refused it: a full queue, for example.
    Nack,
    /// No queue is bound for it.
    Returned,
}

/// A connection with one channel in confirm mode.
pub struct RawAmqp {
    stream: TcpStream,
    frame_max: usize,
}

impl RawAmqp {
    /// Connects as the user of the URI, without heartbeats, with frames as large as the broker's.
    ///
    /// # Errors
    /// The broker refuses, or answers something unexpected.
    pub async fn connect(uri: &AMQPUri) -> anyhow::Result<Self> {
        let authority = &uri.authority;
        let stream = TcpStream::connect((authority.host.as_str(), authority.port)).await?;
        stream.set_nodelay(true)?;
        let mut raw = Self {
            stream,
            frame_max: 4096,
        };
        raw.stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        raw.expect(START).await?;
        let user = &authority.userinfo;
        let response = format!("\0{}\0{}", user.username, user.password);
        let start_ok = [
            long_string(b""),
            short_string(b"PLAIN"),
            long_string(response.as_bytes()),
            short_string(b"en_US"),
        ];
        raw.method(0, (10, 11), &start_ok.concat()).await?;
        let tune = raw.expect(TUNE).await?;
        let (limits, _heartbeat) = tune.split_at_checked(6).context("a short tune")?;
        let frame_max = u32::from_be_bytes(limits[2..6].try_into()?);
        raw.frame_max = if frame_max == 0 {
            128 * 1024
        } else {
            frame_max as usize
        };
        let tune_ok = [
            &limits[..2],
            &u32::try_from(raw.frame_max)?.to_be_bytes(),
            &[0, 0],
        ];
        raw.method(0, (10, 31), &tune_ok.concat()).await?;
        let open = [
            short_string(uri.vhost.as_bytes()),
            short_string(b""),
            vec![0],
        ];
        raw.method(0, (10, 40), &open.concat()).await?;
        raw.expect(OPEN_OK).await?;
        raw.method(CHANNEL, (20, 10), &short_string(b"")).await?;
        raw.expect(CHANNEL_OPEN_OK).await?;
        raw.method(CHANNEL, (85, 10), &[0]).await?;
        raw.expect(SELECT_OK).await?;
        Ok(raw)
    }

    /// Publishes a mandatory message, and waits for what the broker says of it. `properties` is
    /// what follows the body's size in the content header: the flags and the values.
    ///
    /// # Errors
    /// The broker closed the channel or the connection.
    pub async fn publish(
        &mut self,
        exchange: &str,
        routing_key: &[u8],
        properties: &[u8],
        body: &[u8],
    ) -> anyhow::Result<Confirm> {
        self.send(exchange, routing_key, properties, body).await?;
        let mut returned = false;
        loop {
            let (kind, payload) = self.frame().await?;
            match method_of(kind, &payload) {
                Some(ACK) if returned => return Ok(Confirm::Returned),
                Some(ACK) => return Ok(Confirm::Ack),
                Some(NACK) => return Ok(Confirm::Nack),
                Some(RETURN) => returned = true,
                Some(other) => bail!("the broker said {other:?}: {}", text(&payload)),
                // The content of the returned message.
                None => {}
            }
        }
    }

    /// Writes a message without waiting for its confirm.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(
        &mut self,
        exchange: &str,
        routing_key: &[u8],
        properties: &[u8],
        body: &[u8],
    ) -> anyhow::Result<()> {
        const MANDATORY: u8 = 1;
        let publish = [
            vec![0, 0],
            short_string(exchange.as_bytes()),
            short_string(routing_key),
            vec![MANDATORY],
        ];
        self.method(CHANNEL, (BASIC, 40), &publish.concat()).await?;
        let header = [
            &BASIC.to_be_bytes()[..],
            &[0, 0],
            &(body.len() as u64).to_be_bytes(),
            properties,
        ];
        self.write(HEADER, CHANNEL, &header.concat()).await?;
        for chunk in body.chunks(self.frame_max - 8) {
            self.write(BODY, CHANNEL, chunk).await?;
        }
        Ok(())
    }

    async fn method(
        &mut self,
        channel: u16,
        (class, method): (u16, u16),
        arguments: &[u8],
    ) -> anyhow::Result<()> {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        self.write(METHOD, channel, &payload).await
    }

    async fn write(&mut self, kind: u8, channel: u16, payload: &[u8]) -> anyhow::Result<()> {
        let size = u32::try_from(payload.len())?;
        let frame = [
            &[kind][..],
            &channel.to_be_bytes(),
            &size.to_be_bytes(),
            payload,
            &[END],
        ];
        Ok(self.stream.write_all(&frame.concat()).await?)
    }

    async fn expect(&mut self, method: (u16, u16)) -> anyhow::Result<Vec<u8>> {
        let (kind, payload) = self.frame().await?;
        let found = method_of(kind, &payload);
        ensure!(
            found == Some(method),
            "{found:?} instead of {method:?}: {}",
            text(&payload)
        );
        Ok(payload[4..].to_vec())
    }

    async fn frame(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let mut start = [0; 7];
        self.stream.read_exact(&mut start).await?;
        let size = u32::from_be_bytes(start[3..7].try_into()?) as usize;
        let mut payload = vec![0; size + 1];
        self.stream.read_exact(&mut payload).await?;
        ensure!(payload.pop() == Some(END), "a frame without its end");
        Ok((start[0], payload))
    }
}

fn method_of(kind: u8, payload: &[u8]) -> Option<(u16, u16)> {
    let number = |at: usize| {
        Some(u16::from_be_bytes(
            payload.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    (kind == METHOD).then_some(())?;
    Some((number(0)?, number(2)?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The properties of a message, each with any bytes. A short string is cut at 255 bytes.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the names are AMQP's")]
pub struct RawProperties {
    pub content_type: Option<Vec<u8>>,
    pub content_encoding: Option<Vec<u8>>,
    /// The fields of the table of headers, one after the other: see [`field`].
    pub headers: Option<Vec<u8>>,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<Vec<u8>>,
    pub reply_to: Option<Vec<u8>>,
    pub expiration: Option<Vec<u8>>,
    pub message_id: Option<Vec<u8>>,
    pub timestamp: Option<u64>,
    pub kind: Option<Vec<u8>>,
    pub user_id: Option<Vec<u8>>,
    pub app_id: Option<Vec<u8>>,
}

impl RawProperties {
    /// Those of a save, as the contract asks for them.
    #[must_use]
    pub fn save(message_id: &[u8]) -> Self {
        Self {
            content_type: Some(b"application/json".to_vec()),
            delivery_mode: Some(2),
            message_id: Some(message_id.to_vec()),
            kind: Some(b"SaveConnectorDetails.v1".to_vec()),
            ..Self::default()
        }
    }

    /// The flags and the values, as they stand in a content header.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let short = |value: &Option<Vec<u8>>| value.as_deref().map(short_string);
        let byte = |value: Option<u8>| value.map(|byte| vec![byte]);
        let values = [
            short(&self.content_type),
            short(&self.content_encoding),
            self.headers.as_deref().map(long_string),
            byte(self.delivery_mode),
            byte(self.priority),
            short(&self.correlation_id),
            short(&self.reply_to),
            short(&self.expiration),
            short(&self.message_id),
            self.timestamp.map(|time| time.to_be_bytes().to_vec()),
            short(&self.kind),
            short(&self.user_id),
            short(&self.app_id),
        ];
        let mut flags = 0_u16;
        let mut bytes = vec![0, 0];
        for (bit, value) in (0..16).rev().zip(values) {
            if let Some(value) = value {
                flags |= 1 << bit;
                bytes.extend(value);
            }
        }
        bytes[..2].copy_from_slice(&flags.to_be_bytes());
        bytes
    }
}

/// A field of a table of headers: its name, the tag of its type, and its value.
#[must_use]
pub fn field(name: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    [&short_string(name)[..], &[tag], value].concat()
}

/// A field with this many bytes of text.
#[must_use]
pub fn text_field(name: &[u8], bytes: usize) -> Vec<u8> {
    field(name, b'S', &long_string(&vec![b'x'; bytes]))
}

/// A field with arrays in arrays.
#[must_use]
pub fn nested_arrays(name: &[u8], depth: usize) -> Vec<u8> {
    let mut value = long_string(b"");
    for _ in 1..depth {
        value = long_string(&[b"A", &value[..]].concat());
    }
    field(name, b'A', &value)
}

/// The messages that a client library can't read, each with what it is.
#[must_use]
pub fn unreadable() -> Vec<(&'static str, RawProperties)> {
    let save = RawProperties::save;
    let with = |headers: Vec<u8>| RawProperties {
        headers: Some(headers),
        ..save(b"hostile")
    };
    vec![
        ("an id that is not UTF-8", save(b"caf\xe9")),
        (
            "a type that is not UTF-8",
            RawProperties {
                kind: Some(b"Save\xff".to_vec()),
                ..save(b"hostile")
            },
        ),
        (
            "the name of a header that is not UTF-8",
            with(text_field(b"caf\xe9", 1)),
        ),
        ("1,000 nested arrays", with(nested_arrays(b"x", 1000))),
        ("10,000 nested arrays", with(nested_arrays(b"x", 10_000))),
        ("100 KB of headers", with(text_field(b"x", 100_000))),
    ]
}

/// A string with its length in one byte; what is beyond 255 bytes is left out.
#[must_use]
pub fn short_string(value: &[u8]) -> Vec<u8> {
    let value = &value[..value.len().min(255)];
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    [&[length], value].concat()
}

/// Bytes with their length in four: also a table, or an array.
#[must_use]
pub fn long_string(value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], value].concat()
}
