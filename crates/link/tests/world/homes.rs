//! Things that one node alone may change, and that it hands over to one below: cut in the middle, set back, crashed. What is decided is decided by
//! [`anlan_domain::transfer`], as in the product; what of it is durable, and in which order it is told, is as `store` and `app` have it.

use std::collections::{BTreeMap, BTreeSet};

use anlan_domain::transfer::{Given, Heard, Said, on_hearing};

use super::{Event, S, TROUBLE, World};

/// Parts of a transfer; behind them goes the head.
const PARTS: usize = 3;

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(super) struct Homes {
    things: BTreeMap<u64, Thing>,
    given: BTreeMap<u64, Transfer>,
    received: BTreeMap<u64, Received>,
}

#[derive(Clone, Debug)]
struct Thing {
    is_own: bool,
    version: u32,
}

#[derive(Clone, Debug)]
struct Transfer {
    thing: u64,
    version: u32,
    target: usize,
    state: Given,
}

#[derive(Clone, Debug, Default)]
struct Received {
    parts: BTreeSet<usize>,
    /// Which thing, in which version; the head says.
    head: Option<(u64, u32)>,
    said: Option<Said>,
}

impl Homes {
    fn may_change(&self, thing: u64) -> bool {
        let is_locked = self.given.values().any(|transfer| transfer.thing == thing && transfer.state.is_open());
        self.things.get(&thing).is_some_and(|of| of.is_own) && !is_locked
    }
}

fn read<T: std::str::FromStr>(text: Option<&str>) -> T {
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("a body"))
}

impl World {
    /// People make things, change them, hand them over and take that back.
    pub(super) fn manage(&mut self, node: usize) {
        if !self.nodes[node].is_up || self.now >= TROUBLE {
            return;
        }
        self.soon(8 * S, Event::Manage(node));
        if self.now < self.nodes[node].full_until {
            return;
        }
        if self.random.chance(300) {
            let thing = self.random.next();
            self.nodes[node].durable.homes.things.insert(thing, Thing { is_own: true, version: 0 });
            self.change(node, thing);
        }
        let own: Vec<u64> = self.nodes[node].durable.homes.things.keys().copied().collect();
        let own: Vec<u64> = own.into_iter().filter(|thing| self.nodes[node].durable.homes.may_change(*thing)).collect();
        if let Some(thing) = own.get(self.random.below(own.len() as u64) as usize).copied() {
            let children = self.nodes[node].children.clone();
            match children.get(self.random.below(children.len() as u64) as usize) {
                Some(child) if self.random.chance(400) && self.has_heard_all(node) => self.hand_over(node, thing, self.nodes[*child].name),
                _ => self.change(node, thing),
            }
        }
        let open: Vec<u64> =
            self.nodes[node].durable.homes.given.iter().filter(|(_, t)| t.state == Given::Offered).map(|(id, _)| *id).collect();
        if let Some(transfer) = open.first().copied()
            && self.random.chance(200)
            && let Some(given) = self.nodes[node].durable.homes.given.get_mut(&transfer)
            && let Some(next) = given.state.withdraw()
        {
            given.state = next;
            self.tell_head(node, transfer);
        }
        self.grow(node);
    }

    /// Who was set back may have handed it over already in the life that it forgot: until all below were heard again, people hand nothing over.
    fn has_heard_all(&self, node: usize) -> bool {
        let heard = |child: &usize| {
            let (name, end) = (self.nodes[*child].name, self.nodes[*child].durable.up.end);
            self.nodes[node].durable.inbox.get(&name).is_some_and(|inbox| inbox.frozen.is_none() && inbox.have.feed >= end)
        };
        !self.went_back.contains(&self.nodes[node].name) || self.nodes[node].children.iter().all(heard)
    }

    fn change(&mut self, node: usize, thing: u64) {
        if let Some(of) = self.nodes[node].durable.homes.things.get_mut(&thing) {
            of.version += 1;
        }
        *self.changes.entry(thing).or_default() += 1;
        self.tell_thing(node, thing);
        // At no moment may two change it, unless one of them was set back or doubled and does not know.
        self.report.checks += 1;
        let may = |n: &&super::Node| !n.is_gone && n.durable.homes.may_change(thing);
        let who: Vec<usize> = self.nodes.iter().filter(may).map(|n| n.name).collect();
        if who.len() > 1 && !who.iter().any(|name| self.forgot(*name)) && !self.nobody_can_know(&who) {
            self.wrong(format!("thing {thing} may be changed by {who:?} at once"));
        }
    }

    fn tell_thing(&mut self, node: usize, thing: u64) {
        let version = self.nodes[node].durable.homes.things.get(&thing).map_or(0, |of| of.version);
        self.put_up(node, format!("thing:{thing}"), version.to_string());
    }

    fn hand_over(&mut self, node: usize, thing: u64, target: usize) {
        let transfer = self.random.next();
        let version = self.nodes[node].durable.homes.things[&thing].version;
        self.nodes[node].durable.homes.given.insert(transfer, Transfer { thing, version, target, state: Given::Offered });
        for part in 0..PARTS {
            self.put_down(node, target, format!("transfer:{transfer}/{part}"), String::new());
        }
        self.tell_head(node, transfer);
    }

    pub(super) fn put_down(&mut self, node: usize, child: usize, subject: String, body: String) {
        let starts = self.nodes[node].durable.starts;
        self.nodes[node].durable.down.entry(child).or_default().put(starts, subject, body);
    }

    fn tell_head(&mut self, node: usize, transfer: u64) {
        let Transfer { thing, version, target, state } = self.nodes[node].durable.homes.given[&transfer].clone();
        self.put_down(node, target, format!("transfer:{transfer}/head"), format!("{thing};{version};{}", state.is_back()));
    }

    /// A child is there: of what it has said nothing it is told once more.
    pub(super) fn tell_transfers(&mut self, node: usize, child: usize) {
        let given = &self.nodes[node].durable.homes.given;
        let open: Vec<u64> = given.iter().filter(|(_, t)| t.target == child && t.state.is_open()).map(|(id, _)| *id).collect();
        for transfer in open {
            self.tell_head(node, transfer);
        }
        self.grow(node);
    }

    /// From above.
    pub(super) fn hear_of_transfer(&mut self, node: usize, rest: &str, body: &str) {
        let (id, place) = rest.split_once('/').expect("a part");
        let transfer: u64 = read(Some(id));
        let received = self.nodes[node].durable.homes.received.entry(transfer).or_default();
        if let Ok(part) = place.parse() {
            received.parts.insert(part);
            return;
        }
        let mut words = body.split(';');
        received.head = Some((read(words.next()), read(words.next())));
        match on_hearing(received.said, read(words.next()), received.parts.len() == PARTS) {
            Heard::Said => {}
            Heard::Lacks => {
                received.said = Some(Said::Refused);
                self.say(node, transfer);
            }
            Heard::GiveUp => {
                received.said = Some(Said::Withdrawn);
                self.say(node, transfer);
            }
            Heard::Take => {
                let run = self.nodes[node].run;
                self.soon(3 * S, Event::Take { node, run, transfer });
            }
        }
    }

    /// In one commit, a little later, by the start that heard of it.
    pub(super) fn take(&mut self, node: usize, run: u64, transfer: u64) {
        let state = &mut self.nodes[node];
        if !state.is_up || state.run != run || self.now < state.full_until {
            return;
        }
        let Some(received) = state.durable.homes.received.get_mut(&transfer).filter(|of| of.said.is_none()) else { return };
        let Some((thing, version)) = received.head else { return };
        // It was handed on to one below by a life of this node that it forgot since.
        if state.durable.homes.things.get(&thing).is_some_and(|of| !of.is_own) {
            received.said = Some(Said::Refused);
            self.say(node, transfer);
            self.grow(node);
            return;
        }
        received.said = Some(Said::Taken);
        state.durable.homes.things.insert(thing, Thing { is_own: true, version });
        self.say(node, transfer);
        self.tell_thing(node, thing);
        self.grow(node);
    }

    /// The target's word goes up, before what it says of the thing.
    fn say(&mut self, node: usize, transfer: u64) {
        let received = &self.nodes[node].durable.homes.received[&transfer];
        let (Some(said), Some((thing, _))) = (received.said, received.head) else { return };
        self.put_up(node, format!("transferred:{transfer}"), format!("{};{thing}", said.as_str()));
    }

    /// From below. Its own word a giver knows also if it was set back: it is signed.
    pub(super) fn hear_word(&mut self, node: usize, rest: &str, body: &str) {
        let transfer: u64 = read(Some(rest));
        let (said, thing) = body.split_once(';').expect("a word");
        let (said, thing): (Said, u64) = (Said::parse(said).expect("a word"), read(Some(thing)));
        let homes = &mut self.nodes[node].durable.homes;
        let state = homes.given.get(&transfer).map(|given| given.state);
        let after = state.map_or_else(|| Given::Offered.hear(said), |state| state.hear(said));
        if let Some(given) = homes.given.get_mut(&transfer) {
            given.state = after;
        }
        if after == Given::Taken {
            // Also of what was forgotten: its former giver may still offer it, and it is not to be taken before its home has told of it.
            homes.things.entry(thing).or_insert(Thing { is_own: false, version: 0 }).is_own = false;
        } else if state.is_some_and(Given::is_open) {
            self.tell_head(node, transfer);
        }
    }

    /// From below: how it stands at its home.
    pub(super) fn hear_of_thing(&mut self, node: usize, rest: &str, body: &str) {
        let (thing, version): (u64, u32) = (read(Some(rest)), read(Some(body)));
        let of = self.nodes[node].durable.homes.things.entry(thing).or_insert(Thing { is_own: false, version: 0 });
        if !of.is_own {
            of.version = version;
            self.tell_thing(node, thing);
        }
    }

    /// A box answered in another's name what that one had not said; or a node forgot both that it took a thing and that it handed it on.
    fn nobody_can_know(&self, homes: &[usize]) -> bool {
        let above = |mut node: usize| {
            let mut all = Vec::new();
            while let Some(parent) = self.nodes[node].parent {
                all.push(parent);
                node = parent;
            }
            all
        };
        let between = |node: usize| above(node).into_iter().take_while(|up| !homes.contains(up)).any(|up| self.went_back.contains(&up));
        let is_below = |node: usize| above(node).iter().any(|up| homes.contains(up));
        homes.iter().any(|home| self.doubled.contains(home) || (is_below(*home) && between(*home)))
    }

    /// At rest: each has one home, which has every change of it, and whoever stands above sees that.
    pub(super) fn check_homes(&mut self) {
        for (thing, n_changes) in self.changes.clone() {
            self.report.checks += 1;
            let alive = || self.nodes.iter().filter(|n| !n.is_gone);
            let homes: Vec<usize> =
                alive().filter(|n| n.durable.homes.things.get(&thing).is_some_and(|of| of.is_own)).map(|n| n.name).collect();
            let knowing: Vec<usize> = alive().filter(|n| n.durable.homes.things.contains_key(&thing)).map(|n| n.name).collect();
            let locked = homes.iter().any(|home| !self.nodes[*home].durable.homes.may_change(thing));
            let is_whole = !(0..self.nodes.len()).any(|name| self.forgot(name));
            match homes.as_slice() {
                [] if !is_whole => {}
                homes if homes.len() > 1 && self.nobody_can_know(homes) => {}
                [home] => {
                    if locked {
                        self.wrong(format!("thing {thing} is locked at {home} for ever"));
                    }
                    let version = self.nodes[*home].durable.homes.things[&thing].version;
                    if is_whole && version != n_changes {
                        self.wrong(format!("thing {thing} was changed {n_changes} times, {home} has {version}"));
                    }
                    let mut above = self.nodes[*home].parent;
                    while let Some(node) = above.filter(|_| is_whole) {
                        let seen = self.nodes[node].durable.homes.things.get(&thing).map(|of| of.version);
                        if seen != Some(version) {
                            self.wrong(format!("thing {thing}: {home} has {version}, {node} sees {seen:?}"));
                        }
                        above = self.nodes[node].parent;
                    }
                }
                homes => self.wrong(format!("thing {thing} has the homes {homes:?}; it is known at {knowing:?}")),
            }
        }
    }
}
