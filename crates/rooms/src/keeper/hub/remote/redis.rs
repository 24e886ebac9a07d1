//! Rooms in a Redis or Valkey: a script that is one step there gives each message its place; publish/subscribe lets it be heard.

mod script;

use std::collections::HashMap;
use std::time::Instant;

use tenfold_client::redis::{Client, Command as Call, Script, Subscription};

use self::script::{PUBLISH, SNAPSHOT};
use super::super::Epochs;
use super::CALL_MAX;
use super::broker::{ALIVE_FOR_MS, Broker, Ear, Outcome, Present, Source, parse};
use crate::position::Position;
use crate::rule::{Rule, Rules};
use crate::wire::Snapshot;

/// A Redis.
pub(in crate::keeper) struct Redis(Client);

impl Redis {
    pub(in crate::keeper) fn new(url: &str) -> Outcome<Redis> {
        Ok(Redis(Client::builder(url)?.connect_timeout(CALL_MAX).reply_timeout(CALL_MAX).build()))
    }
}

impl Source for Redis {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn broker(&self, instance: &str, _rules: &Rules) -> Box<dyn Broker> {
        Box::new(RedisBroker {
            client: self.0.clone(),
            instance: instance.to_owned(),
            publish: Script::new(PUBLISH),
            snapshot: Script::new(SNAPSHOT),
            epochs: Epochs::new(),
        })
    }

    fn ear(&self, instance: &str) -> Outcome<Box<dyn Ear>> {
        // A channel of its own, so that there is a subscription from the beginning.
        let subscription = self.0.subscribe([format!("rooms:instance:{instance}")])?;
        Ok(Box::new(RedisEar { client: self.0.clone(), subscription }))
    }
}

fn channel_of(room: &str) -> String {
    format!("{{rooms:{room}}}")
}

fn room_of(channel: &str) -> Option<&str> {
    channel.strip_prefix("{rooms:")?.strip_suffix('}')
}

struct RedisBroker {
    client: Client,
    instance: String,
    publish: Script,
    snapshot: Script,
    epochs: Epochs,
}

impl Broker for RedisBroker {
    fn publish(&mut self, room: &str, message: &str, rule: &Rule) -> Outcome<Position> {
        let channel = channel_of(room);
        let arguments = [
            channel.clone(),
            self.epochs.next().to_string(),
            message.to_owned(),
            rule.history_max.to_string(),
            rule.history_bytes_max.to_string(),
            rule.history_age.as_millis().max(1).to_string(),
        ];
        let keys = [format!("{channel}:meta"), format!("{channel}:history")];
        let place: Vec<String> = self.publish.run(&self.client, keys, arguments)?;
        let number = |index: usize| place.get(index).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Position { epoch: number(0), offset: number(1) })
    }

    fn snapshot(&mut self, room: &str, _rule: &Rule) -> Outcome<Snapshot> {
        let channel = channel_of(room);
        let keys = [format!("{channel}:meta"), format!("{channel}:history")];
        let epoch = self.epochs.next().to_string();
        let all: Vec<String> = self.snapshot.run(&self.client, keys, [epoch])?;
        let number = |index: usize| all.get(index).and_then(|text| text.parse().ok()).unwrap_or(0);
        let (epoch, head) = (number(0), number(1));
        let messages = all.iter().skip(2).filter_map(|entry| parse(entry));
        // What an earlier epoch has left does not belong to this one.
        let messages = messages.filter(|(of, _)| *of == epoch).map(|(_, message)| message).collect();
        Ok(Snapshot { epoch, head, messages })
    }

    fn mark(&mut self, room: &str, text: &str) -> Outcome<()> {
        self.client.publish(channel_of(room), text).map(drop)
    }

    fn enter(&mut self, room: &str, member: &str, info: &str) -> Outcome<bool> {
        let set = Call::new("HSET").arg(format!("{}:present", channel_of(room))).arg(member).arg(info);
        Ok(self.client.query::<i64>(&set)? > 0)
    }

    fn exit(&mut self, room: &str, member: &str) -> Outcome<Option<String>> {
        let key = format!("{}:present", channel_of(room));
        let info: Option<String> = self.client.query(&Call::new("HGET").arg(&key).arg(member))?;
        let was_there: i64 = self.client.query(&Call::new("HDEL").arg(&key).arg(member))?;
        Ok((was_there > 0).then(|| info.unwrap_or_default()))
    }

    fn present(&mut self, room: &str) -> Outcome<Vec<Present>> {
        let all = Call::new("HGETALL").arg(format!("{}:present", channel_of(room)));
        let all: Vec<String> = self.client.query(&all)?;
        let (mut lives, mut present) = (HashMap::new(), Vec::new());
        for pair in all.chunks_exact(2) {
            let instance = pair[0].split(' ').next().unwrap_or_default().to_owned();
            let is_alive = match lives.get(&instance) {
                Some(known) => *known,
                None => {
                    let is_ours = instance == self.instance;
                    let exists = Call::new("EXISTS").arg(format!("rooms:alive:{instance}"));
                    let is_alive = is_ours || self.client.query::<i64>(&exists)? > 0;
                    lives.insert(instance, is_alive);
                    is_alive
                }
            };
            present.push(Present { member: pair[0].clone(), info: pair[1].clone(), is_alive });
        }
        Ok(present)
    }

    fn alive(&mut self) -> Outcome<bool> {
        let key = format!("rooms:alive:{}", self.instance);
        self.client.query::<()>(&Call::new("SET").arg(key).arg(1).arg("PX").arg(ALIVE_FOR_MS))?;
        Ok(true)
    }
}

struct RedisEar {
    client: Client,
    subscription: Subscription,
}

impl Ear for RedisEar {
    fn hear(&mut self, rooms: Vec<String>) -> Outcome<()> {
        self.subscription.subscribe(rooms.iter().map(|room| channel_of(room)).collect::<Vec<_>>())
    }

    fn leave(&mut self, rooms: Vec<String>) -> Outcome<()> {
        self.subscription.unsubscribe(rooms.iter().map(|room| channel_of(room)).collect::<Vec<_>>())
    }

    fn mark(&mut self, room: &str, text: &str) -> Outcome<()> {
        self.client.publish(channel_of(room), text).map(drop)
    }

    fn next(&mut self, until: Instant) -> Outcome<Option<(String, Vec<u8>)>> {
        let Some(message) = self.subscription.receive_before(until)? else { return Ok(None) };
        Ok(room_of(&message.channel).map(|room| (room.to_owned(), message.payload.to_vec())))
    }
}
