//! An MQTT client without I/O: publishes at QoS 1 to one topic and listens to nothing. Speaks 3.1.1 or 5.
//!
//! Sessions are clean: what was not acknowledged is published afresh on the next connection, and the server knows repeats by their time.
//! Start at [`Publisher`].

use anlan_protocols::mqtt::codec::{Connect, Decoder, Notice, Packet, Properties, Publish, Qos, Version, reason};

use crate::client::{Heard, Wire};

/// Seconds; the link sends a PINGREQ every 30.
const KEEP_ALIVE_S: u16 = 90;
/// A server has nothing large to say to a publisher.
const PACKET_MAX: usize = 64 << 10;

/// The state of one publisher, kept over its connections.
pub struct Publisher {
    device: String,
    secret: String,
    topic: String,
    version: Version,
    next_id: u16,
    decoder: Decoder,
}

impl Publisher {
    /// User `device` with its secret; parcels are payloads for `anlan/v1/{device}/telemetry`.
    pub fn new(device: &str, secret: &str, version_5: bool) -> Self {
        let version = if version_5 { Version::V5 } else { Version::V3_1_1 };
        Self {
            device: device.to_owned(),
            secret: secret.to_owned(),
            topic: format!("anlan/v1/{device}/telemetry"),
            version,
            next_id: 0,
            decoder: Decoder::new(Some(version), PACKET_MAX),
        }
    }

    fn encode(&self, packet: &Packet) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = packet.encode(self.version, &mut bytes) {
            tracing::error!("a simulated publisher made a packet that cannot be sent: {error}");
        }
        bytes
    }
}

impl Wire for Publisher {
    type Parcel = Vec<u8>;

    fn hello(&mut self) -> Vec<u8> {
        self.decoder = Decoder::new(Some(self.version), PACKET_MAX);
        self.encode(&Packet::Connect(Box::new(Connect {
            version: self.version,
            bridge: false,
            clean: true,
            keep_alive_s: KEEP_ALIVE_S,
            client_id: self.device.clone(),
            will: None,
            username: Some(self.device.clone()),
            password: Some(self.secret.clone().into_bytes()),
            properties: Properties::default(),
        })))
    }

    fn send(&mut self, payload: &Vec<u8>) -> (Vec<u8>, u16) {
        // 1 to 65,535 in turn; the window is far smaller, so an id in use does not come up again.
        self.next_id = self.next_id.wrapping_add(1).max(1);
        let publish = Publish {
            qos: Qos::AtLeastOnce,
            topic: self.topic.clone(),
            packet_id: Some(self.next_id),
            payload: payload.clone(),
            ..Publish::default()
        };
        (self.encode(&Packet::Publish(publish)), self.next_id)
    }

    fn receive(&mut self, bytes: &[u8]) -> Vec<Heard> {
        self.decoder.push(bytes);
        let mut heard = Vec::new();
        for packet in self.decoder.by_ref() {
            heard.push(match packet {
                Ok(Packet::Connack(ack)) if ack.reason == 0 => Heard::Ready,
                Ok(Packet::Connack(_)) => Heard::Broken("the server refuses the device"),
                // Success, or success without a subscriber; 3.1.1 knows no other.
                Ok(Packet::Puback(ack)) if ack.reason < 0x80 => Heard::Kept(ack.packet_id),
                Ok(Packet::Puback(ack)) if matches!(ack.reason, reason::QUOTA_EXCEEDED | reason::UNSPECIFIED) => {
                    Heard::Again(ack.packet_id)
                }
                Ok(Packet::Puback(ack)) => Heard::Refused(ack.packet_id),
                Ok(Packet::Disconnect(_)) => Heard::Broken("the server says goodbye"),
                Ok(_) => continue,
                Err(_) => Heard::Broken("the server sends what is not MQTT"),
            });
        }
        heard
    }

    fn keep_alive(&mut self) -> Vec<u8> {
        self.encode(&Packet::Pingreq)
    }

    fn goodbye(&mut self) -> Vec<u8> {
        self.encode(&Packet::Disconnect(Notice::default()))
    }
}

#[cfg(test)]
mod tests {
    use anlan_protocols::mqtt::codec::{Ack, Connack};

    use super::*;

    #[test]
    fn connects_publishes_and_tells_the_answers_apart() {
        for version_5 in [false, true] {
            let mut client = Publisher::new("demo-d0001", "secret", version_5);
            let mut server = Decoder::new(None, PACKET_MAX);
            server.push(&client.hello());
            let Some(Ok(Packet::Connect(connect))) = server.next() else { panic!("no CONNECT") };
            assert_eq!((connect.username.as_deref(), connect.password.as_deref()), (Some("demo-d0001"), Some(&b"secret"[..])));
            let say = |packet: Packet| {
                let mut bytes = Vec::new();
                packet.encode(connect.version, &mut bytes).unwrap();
                bytes
            };
            assert_eq!(client.receive(&say(Packet::Connack(Connack::default()))), [Heard::Ready]);
            let (bytes, key) = client.send(&b"{}".to_vec());
            server.push(&bytes);
            let Some(Ok(Packet::Publish(publish))) = server.next() else { panic!("no PUBLISH") };
            assert_eq!(
                (publish.topic.as_str(), publish.qos, publish.packet_id),
                ("anlan/v1/demo-d0001/telemetry", Qos::AtLeastOnce, Some(key))
            );
            let ack = |reason| say(Packet::Puback(Ack { packet_id: key, reason, ..Ack::default() }));
            assert_eq!(client.receive(&ack(0)), [Heard::Kept(key)]);
            if version_5 {
                assert_eq!(client.receive(&ack(0x97)), [Heard::Again(key)]);
                assert_eq!(client.receive(&ack(0x99)), [Heard::Refused(key)]);
            }
        }
    }
}
