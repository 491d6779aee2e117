//! Combination rules (组合规则): alarms of several points of one enterprise that come together within a time raise an alarm of their own.
//!
//! Pure: changes of alarms + time in, changes out. No clock, no database, no log; ids come from the caller.
//! Start at [`Combinations::pass`], which costs nothing where no condition changed and none of its own times is up.
//!
//! **When it stands.** A member *stands* from the onset of its alarm to its return. The combination is met where some stretch of `within`
//! touches the standing of at least `needed` members: they stood at the same time, or one began at most `within` after another had gone.
//! That holds for a leak that reaches two detectors seconds apart, and as well for one that spreads slowly: whoever still stands counts,
//! however long ago it began. Members are told apart in *event time*, so the order in which devices deliver does not matter; onset of the
//! alarm is the onset of the member that completed it. It returns when fewer than `needed` members stand or stood at most `within` ago
//! (counted from when the end was *heard*, as delays of [`crate::alarm`] are); a member that comes and goes meanwhile changes nothing.
//! It is raised again only by a member that begins anew.
//!
//! **Live data only.** Alarms of late and back-filled readings are marked historic and never count here: each of them is in the list, and
//! the moment at which the combination could have helped is over.
//!
//! Source: *M out of N* voting is common to safety instrumented systems; no clause of a standard is quoted for it here (待核). What a
//! combination is grounded on is named by who sets it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anlan_model::noun::{Combination, CombinationMember};
use anlan_model::{AlarmChange, AlarmId, AlarmPart, CombinationId, Effect, Level, PointId, RaisedAlarm, RuleKind, Subject, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pack::join;

/// Times a member stood that are kept until the next judgement. A member that comes and goes more often within one message loses the oldest.
const STOOD_MAX: usize = 8;

/// A compiled combination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CombinationRule {
    /// Which.
    pub id: CombinationId,
    /// Urgency.
    pub level: Level,
    /// Members that must come together.
    pub needed: u32,
    /// Within how long, ≥ 0.
    pub within_us: i64,
    /// What must stand; the alarm is about the point of the first.
    pub members: Vec<CombinationMember>,
    /// Who set it: document and clause.
    pub source: String,
}

impl CombinationRule {
    /// What the engine needs of a combination as people set it.
    pub fn of(combination: &Combination) -> Self {
        Self {
            id: combination.id,
            level: combination.level,
            needed: combination.needed,
            within_us: (combination.within_s * 1e6) as i64,
            members: combination.members.clone(),
            source: join(&combination.source.document, &combination.source.clause),
        }
    }
}

/// A time that a member stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stood {
    alarm: AlarmId,
    from: Timestamp,
    /// Event time and when it was heard; `None` = stands.
    to: Option<(Timestamp, Timestamp)>,
    /// Not judged yet.
    fresh: bool,
}

impl Stood {
    /// Whether it touches the stretch of `within_us` that ends at `at`.
    fn touches(&self, at: Timestamp, within_us: i64) -> bool {
        self.from <= at && self.to.is_none_or(|(to, _)| to >= at.plus_us(-within_us))
    }
}

/// The open occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    alarm: AlarmId,
    onset_at: Timestamp,
}

/// One combination with its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Watch {
    rule: CombinationRule,
    /// Per member, oldest first; after a judgement the newest alone.
    stood: Vec<VecDeque<Stood>>,
    open: Option<Open>,
}

impl Watch {
    /// A member began to stand.
    fn began(&mut self, member: CombinationMember, alarm: AlarmId, from: Timestamp) -> bool {
        let Some(i) = self.rule.members.iter().position(|m| *m == member) else { return false };
        let stood = &mut self.stood[i];
        if stood.len() == STOOD_MAX {
            stood.pop_front();
        }
        stood.push_back(Stood { alarm, from, to: None, fresh: true });
        true
    }

    /// A member ceased to stand.
    fn ended(&mut self, alarm: AlarmId, at: Timestamp, now: Timestamp) {
        for stood in self.stood.iter_mut().flatten().filter(|stood| stood.alarm == alarm && stood.to.is_none()) {
            stood.to = Some((at.max(stood.from), now));
        }
    }

    /// The earliest instant at which enough members, one of them new, come together; and how many do.
    fn met(&self) -> Option<(Timestamp, usize)> {
        let within_us = self.rule.within_us;
        let together = |at: Timestamp| {
            let touching = |stood: &VecDeque<Stood>| {
                let mut all = stood.iter().filter(|s| s.touches(at, within_us)).peekable();
                all.peek().is_some().then(|| all.any(|s| s.fresh))
            };
            let found: Vec<bool> = self.stood.iter().filter_map(touching).collect();
            (found.len() >= self.rule.needed as usize && found.contains(&true)).then_some((at, found.len()))
        };
        // Where they come together at all, they do so at the onset of the last of them.
        self.stood.iter().flatten().map(|stood| stood.from).collect::<BTreeSet<_>>().into_iter().find_map(together)
    }

    /// Until when each member counts: in event time and as heard. `None` = it stands.
    fn until(&self) -> impl Iterator<Item = Option<(Timestamp, Timestamp)>> + '_ {
        let within_us = self.rule.within_us;
        // The last instant at which it counts, so that what is raised then is still to be seen.
        let until = move |stood: &Stood| stood.to.map(|(at, heard)| (at.plus_us(within_us), heard.plus_us(within_us)));
        self.stood.iter().filter_map(|stood| stood.back()).map(until)
    }

    /// When fewer than needed will count, if nothing else happens.
    fn due(&self) -> Option<Timestamp> {
        self.open?;
        let mut heard: Vec<Timestamp> = self.until().map(|until| until.map_or(Timestamp::MAX, |(_, heard)| heard)).collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        match heard.get((self.rule.needed as usize).saturating_sub(1)) {
            Some(&Timestamp::MAX) => None,
            Some(until) => Some(until.plus_us(1)),
            None => Some(Timestamp::MIN),
        }
    }

    /// Every member with the newest time it stood of which `of` says yes.
    fn parts(&self, of: impl Fn(&Stood) -> bool) -> Vec<AlarmPart> {
        let part = |(member, stood): (&CombinationMember, &VecDeque<Stood>)| {
            let alarm = stood.iter().rev().find(|s| of(s)).map(|s| s.alarm);
            AlarmPart { point: member.point, kind: member.kind, alarm }
        };
        self.rule.members.iter().zip(&self.stood).map(part).collect()
    }

    /// Raises, adds and returns what there is to.
    fn judge(&mut self, now: Timestamp, new_id: &mut dyn FnMut(Timestamp) -> AlarmId, out: &mut Vec<Effect>) {
        let (id, within_us) = (self.rule.id, self.rule.within_us);
        if let Some(open) = self.open {
            let mut parts = self.parts(|s| s.fresh);
            parts.retain(|part| part.alarm.is_some());
            if !parts.is_empty() {
                out.push(Effect::Combined { alarm: open.alarm, combination: id, parts });
            }
        } else if let Some((onset_at, n)) = self.met() {
            let alarm = new_id(now);
            self.open = Some(Open { alarm, onset_at });
            out.extend(self.raised(alarm, onset_at, n, now).map(|raised| Effect::Alarm(AlarmChange::Raised(raised))));
            let parts = self.parts(|s| s.fresh || s.touches(onset_at, within_us));
            out.push(Effect::Combined { alarm, combination: id, parts });
        }
        for stood in &mut self.stood {
            stood.drain(..stood.len().saturating_sub(1));
            stood.iter_mut().for_each(|s| s.fresh = false);
        }
        if let (Some(open), Some(due)) = (self.open, self.due())
            && due <= now
        {
            let mut until: Vec<Timestamp> = self.until().map(|until| until.map_or(Timestamp::MAX, |(at, _)| at)).collect();
            until.sort_unstable_by(|a, b| b.cmp(a));
            // A rule that changed may have members of which nothing was ever heard.
            let at = until.get((self.rule.needed as usize).saturating_sub(1)).copied().unwrap_or(now);
            out.push(Effect::Alarm(AlarmChange::Returned { id: open.alarm, at: at.max(open.onset_at).min(now) }));
            self.open = None;
        }
    }

    fn raised(&self, id: AlarmId, onset_at: Timestamp, n: usize, now: Timestamp) -> Option<RaisedAlarm> {
        Some(RaisedAlarm {
            id,
            rule: format!("combination:{}", self.rule.id),
            kind: RuleKind::Combination,
            subject: Subject::Point(self.rule.members.first()?.point),
            level: self.rule.level,
            value: Some(n as f64),
            threshold: Some(f64::from(self.rule.needed)),
            unit: String::new(),
            source: self.rule.source.clone(),
            confidence: "enterprise".to_owned(),
            onset_at,
            raised_at: now,
            historic: false,
        })
    }
}

/// The combinations of one shard. Serializable, as they are part of its checkpoint.
#[derive(Debug, Default)]
pub struct Combinations {
    watches: BTreeMap<CombinationId, Watch>,
    /// Who looks at a point; follows from the watches, as do the next two.
    at_point: BTreeMap<PointId, Vec<CombinationId>>,
    /// Alarms of members that stand, and where.
    standing: BTreeMap<AlarmId, PointId>,
    due: BTreeSet<(Timestamp, CombinationId)>,
    /// To be judged at the next pass.
    touched: BTreeSet<CombinationId>,
}

impl Combinations {
    /// Whether a combination is watched just like that.
    pub fn has(&self, rule: &CombinationRule) -> bool {
        self.watches.get(&rule.id).is_some_and(|watch| watch.rule == *rule)
    }

    /// Every combination watched.
    pub fn ids(&self) -> impl Iterator<Item = CombinationId> + '_ {
        self.watches.keys().copied()
    }

    /// Takes over a combination, or forgets it (`None`): its alarm returns at `now`. A member that stays keeps what is known of it; of a new
    /// one `standing` says which alarm stands, and since when at the latest. The next [`Self::pass`] judges it.
    pub fn set(
        &mut self,
        id: CombinationId,
        rule: Option<&CombinationRule>,
        standing: &dyn Fn(CombinationMember) -> Option<(AlarmId, Timestamp)>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let mut old = self.watches.remove(&id);
        for member in old.iter().flat_map(|old| &old.rule.members) {
            if let Some(watching) = self.at_point.get_mut(&member.point) {
                watching.retain(|of| *of != id);
            }
        }
        let open = old.as_ref().and_then(|old| old.open);
        let Some(rule) = rule else {
            out.extend(open.map(|open| Effect::Alarm(AlarmChange::Returned { id: open.alarm, at: now })));
            return;
        };
        let mut watch = Watch { rule: rule.clone(), stood: vec![VecDeque::new(); rule.members.len()], open };
        for (i, member) in rule.members.iter().enumerate() {
            let was = old.as_mut().and_then(|old| Some(std::mem::take(&mut old.stood[old.rule.members.iter().position(|m| m == member)?])));
            match (was, standing(*member)) {
                (Some(was), _) => watch.stood[i] = was,
                (None, Some((alarm, from))) => _ = watch.began(*member, alarm, from),
                (None, None) => {}
            }
            // Fewer members or a longer time may be met by what stands already.
            watch.stood[i].iter_mut().filter(|s| s.to.is_none() && open.is_none()).for_each(|s| s.fresh = true);
        }
        self.insert(watch);
        self.touched.insert(id);
    }

    fn insert(&mut self, watch: Watch) {
        let id = watch.rule.id;
        for (member, stood) in watch.rule.members.iter().zip(&watch.stood) {
            let watching = self.at_point.entry(member.point).or_default();
            if !watching.contains(&id) {
                watching.push(id);
                watching.sort_unstable();
            }
            self.standing.extend(stood.iter().filter(|s| s.to.is_none()).map(|s| (s.alarm, member.point)));
        }
        if watch.stood.iter().flatten().any(|s| s.fresh) {
            self.touched.insert(id);
        }
        self.due.extend(watch.due().map(|due| (due, id)));
        self.watches.insert(id, watch);
    }

    /// Learns which conditions changed, without judging: for changes outside a step.
    pub fn note(&mut self, changes: &[Effect], now: Timestamp) {
        if self.watches.is_empty() {
            return;
        }
        for change in changes {
            let (point, member, alarm, at) = match change {
                Effect::Alarm(AlarmChange::Raised(a)) if !a.historic => match a.subject {
                    Subject::Point(point) => (point, Some(CombinationMember { point, kind: a.kind }), a.id, a.onset_at),
                    Subject::Vehicle(_) => continue,
                },
                Effect::Alarm(AlarmChange::Returned { id, at }) => match self.standing.remove(id) {
                    Some(point) => (point, None, *id, *at),
                    None => continue,
                },
                _ => continue,
            };
            for id in self.at_point.get(&point).into_iter().flatten() {
                let Some(watch) = self.watches.get_mut(id) else { continue };
                match member {
                    Some(member) if watch.began(member, alarm, at) => _ = self.standing.insert(alarm, point),
                    Some(_) => continue,
                    None => watch.ended(alarm, at, now),
                }
                self.touched.insert(*id);
            }
        }
    }

    /// Learns which conditions changed behind `from` of `out`, judges what that or the time touches, and appends what comes of it.
    pub fn pass(&mut self, from: usize, now: Timestamp, new_id: &mut dyn FnMut(Timestamp) -> AlarmId, out: &mut Vec<Effect>) {
        if self.watches.is_empty() {
            return;
        }
        self.note(out.get(from..).unwrap_or_default(), now);
        while let Some(&(at, id)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            self.touched.insert(id);
        }
        for id in std::mem::take(&mut self.touched) {
            let Some(watch) = self.watches.get_mut(&id) else { continue };
            watch.judge(now, new_id, out);
            // An entry of before stays: it looks in vain once.
            self.due.extend(watch.due().map(|due| (due, id)));
        }
    }

    /// How many want to be judged by `now`.
    pub fn n_due(&self, now: Timestamp) -> usize {
        let is_due = |(_, id): &&(Timestamp, CombinationId)| self.watches.get(id).and_then(Watch::due).is_some_and(|due| due <= now);
        self.touched.len() + self.due.iter().take_while(|(at, _)| *at <= now).filter(is_due).count()
    }
}

impl Serialize for Combinations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.watches.values())
    }
}

impl<'de> Deserialize<'de> for Combinations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Self::default();
        for watch in Vec::<Watch>::deserialize(deserializer)? {
            if watch.stood.len() != watch.rule.members.len() {
                return Err(serde::de::Error::custom("a combination whose members do not match"));
            }
            all.insert(watch);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: char) -> CombinationMember {
        CombinationMember { point: PointId::new(i64::from(u32::from(name))), kind: RuleKind::H }
    }

    fn rule(needed: u32, members: &str, within_s: i64) -> CombinationRule {
        CombinationRule {
            id: CombinationId::new(7),
            level: Level::Red,
            needed,
            within_us: within_s * 1_000_000,
            members: members.chars().map(member).collect(),
            source: "联锁说明书 3.2".into(),
        }
    }

    /// Plays changes of members and writes what the combination did.
    ///
    /// In: `second:a+` a begins to stand, `second:a-` it ends, `@event` where the device's time differs; `second:.` only time passes; `|`
    /// instead of a blank puts changes into one step; `second:~a+` is a historic alarm. Out: `+onset[who]` raised, `*[who]` joined,
    /// `-second` returned.
    struct Play {
        all: Combinations,
        alarms: BTreeMap<char, AlarmId>,
        n: u128,
        said: Vec<String>,
    }

    impl Play {
        fn of(rule: &CombinationRule) -> Self {
            let mut all = Combinations::default();
            all.set(rule.id, Some(rule), &|_| None, Timestamp::EPOCH, &mut Vec::new());
            Self { all, alarms: BTreeMap::new(), n: 0, said: Vec::new() }
        }

        fn play(&mut self, steps: &str) {
            for step in steps.split_whitespace() {
                let mut out = Vec::new();
                let mut now = Timestamp::EPOCH;
                for change in step.split('|') {
                    let (second, what) = change.split_once(':').unwrap();
                    now = Timestamp::from_secs(second.parse().unwrap());
                    let (what, event) = what.split_once('@').map_or((what, now), |(w, at)| (w, Timestamp::from_secs(at.parse().unwrap())));
                    let historic = what.starts_with('~');
                    let mut signs = what.trim_start_matches('~').chars();
                    let (who, sign) = (signs.next().unwrap(), signs.next());
                    match sign {
                        Some('+') => {
                            self.n += 1;
                            let id = AlarmId::new(self.n);
                            self.alarms.insert(who, id);
                            let raised = self.one(id, who, event, now, historic);
                            out.push(Effect::Alarm(AlarmChange::Raised(raised)));
                        }
                        Some(_) => out.push(Effect::Alarm(AlarmChange::Returned { id: self.alarms[&who], at: event })),
                        None => {}
                    }
                }
                let from = out.len();
                let n = &mut self.n;
                self.all.note(&out, now);
                self.all.pass(
                    from,
                    now,
                    &mut |_| {
                        *n += 1;
                        AlarmId::new(*n)
                    },
                    &mut out,
                );
                self.say(&out[from..]);
            }
        }

        fn one(&self, id: AlarmId, who: char, onset_at: Timestamp, raised_at: Timestamp, historic: bool) -> RaisedAlarm {
            RaisedAlarm {
                id,
                rule: "h".into(),
                kind: RuleKind::H,
                subject: Subject::Point(member(who).point),
                level: Level::Yellow,
                value: Some(30.0),
                threshold: Some(25.0),
                unit: "%LEL".into(),
                source: String::new(),
                confidence: "enterprise".into(),
                onset_at,
                raised_at,
                historic,
            }
        }

        fn say(&mut self, effects: &[Effect]) {
            let secs = |at: Timestamp| at.micros() / 1_000_000;
            for effect in effects {
                match effect {
                    Effect::Alarm(AlarmChange::Raised(a)) => self.said.push(format!("+{}", secs(a.onset_at))),
                    Effect::Alarm(AlarmChange::Returned { at, .. }) => self.said.push(format!("-{}", secs(*at))),
                    Effect::Combined { parts, .. } => {
                        let who: String = parts
                            .iter()
                            .filter(|p| p.alarm.is_some())
                            .filter_map(|p| char::from_u32(u32::try_from(p.point.get()).ok()?))
                            .collect();
                        match self.said.last_mut().filter(|last| last.starts_with('+') && !last.ends_with(']')) {
                            Some(raised) => raised.push_str(&format!("[{who}]")),
                            None => self.said.push(format!("*[{who}]")),
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn check(needed: u32, members: &str, within_s: i64, steps: &str, expect: &str) {
        let mut play = Play::of(&rule(needed, members, within_s));
        play.play(steps);
        assert_eq!(play.said.join(" "), expect, "{needed} of {members} within {within_s} s: {steps}");
    }

    #[test]
    fn members_that_come_together_in_time_raise_one_alarm() {
        check(2, "ab", 30, "0:a+ 20:b+", "+20[ab]");
        check(2, "ab", 30, "0:a+ 900:b+", "+900[ab]"); // a spreading leak: whoever still stands counts
        check(2, "ab", 30, "0:a+ 5:a- 35:b+", "+35[ab]"); // gone for exactly the time
        check(2, "ab", 30, "0:a+ 5:a- 36:b+", "");
        check(2, "ab", 0, "0:a+ 5:a- 5:b+", "+5[ab]"); // both at one instant
        check(2, "ab", 0, "0:a+ 5:a- 5:b+ 6:.", "+5[ab] -5");
        check(2, "ab", 0, "0:a+ 5:a- 6:b+", "");
        check(2, "ab", 30, "0:a+ 1:a- 2:a+ 3:a-", ""); // one detector twice is one member
        check(3, "abc", 30, "0:a+ 1:b+ 2:c+", "+2[abc]");
        check(2, "abc", 30, "0:a+ 1:c+", "+1[ac]"); // two out of three
        check(3, "abc", 30, "0:a+ 1:c+", "");
    }

    #[test]
    fn it_stands_until_too_few_stood_within_the_time() {
        check(2, "ab", 30, "0:a+ 20:b+ 40:a- 70:.", "+20[ab]");
        check(2, "ab", 30, "0:a+ 20:b+ 40:a- 71:.", "+20[ab] -70");
        check(2, "ab", 30, "0:a+ 20:b+ 40:a- 60:a+ 100:.", "+20[ab] *[a]"); // back in time: the same occurrence
        check(2, "ab", 30, "0:a+ 20:b+ 40:a- 80:. 90:a+", "+20[ab] -70 +90[ab]");
        check(2, "abc", 30, "0:a+ 1:b+ 2:c+ 10:a- 60:. 70:b- 110:.", "+1[ab] *[c] -100");
        check(2, "ab", 30, "0:a+ 20:b+ 40:a- 41:b- 200:. 201:.", "+20[ab] -70"); // told late, true in event time
        check(2, "ab", 30, "0:a+ 20:b+ 40:a- 80:. 81:b- 300:.", "+20[ab] -70"); // nothing begins anew
    }

    #[test]
    fn event_time_decides_and_not_the_order_of_delivery() {
        check(2, "ab", 30, "100:a+ 200:b+@60", "+100[ab]");
        check(2, "ab", 30, "0:a+ 10:a- 75:b+@15 76:.", "+15[ab] -40"); // b's gateway was a minute late
        check(2, "ab", 30, "0:a+ 10:a- 100:a+ 110:a- 120:b+@50|120:b-@52", ""); // far from both
        check(2, "ab", 30, "0:a+ 10:a- 100:a+ 120:b+@50|120:b-@52", "");
        check(2, "ab", 30, "50:b+ 51:b- 120:a+@0|120:a-@10|120:a+@75|120:a-@76|120:a+@110", "+75[ab] -81"); // every time of one message counts
    }

    #[test]
    fn late_data_never_combines() {
        check(2, "ab", 30, "0:a+ 20:~b+", "");
        check(2, "ab", 30, "0:~a+ 20:~b+", "");
    }

    #[test]
    fn another_rule_of_the_same_point_is_not_a_member() {
        let mut wish = rule(2, "ab", 30);
        wish.members[1].kind = RuleKind::Hh;
        let mut play = Play::of(&wish);
        play.play("0:a+ 1:b+");
        assert_eq!(play.said.join(" "), "");
    }

    #[test]
    fn a_changed_rule_keeps_what_is_known_and_one_that_goes_returns() {
        let mut play = Play::of(&rule(3, "abc", 30));
        play.play("0:a+ 1:b+");
        let mut out = Vec::new();
        let now = Timestamp::from_secs(50);
        play.all.set(CombinationId::new(7), Some(&rule(2, "ab", 30)), &|_| None, now, &mut out);
        play.play("50:.");
        assert_eq!(play.said.join(" "), "+1[ab]", "asks for less: met by what stands");
        play.all.set(CombinationId::new(7), Some(&rule(2, "ac", 30)), &|_| None, now, &mut out);
        play.play("50:.");
        assert_eq!(play.said.join(" "), "+1[ab] -50", "b is no member any more");
        play.play("60:c+");
        assert_eq!(play.said.join(" "), "+1[ab] -50 +60[ac]");
        play.all.set(CombinationId::new(7), None, &|_| None, now, &mut out);
        play.say(&out);
        assert_eq!(play.said.join(" "), "+1[ab] -50 +60[ac] -50");
        play.play("70:b+ 71:a+");
        assert_eq!(play.all.ids().count(), 0);
    }

    #[test]
    fn a_rule_made_while_its_members_stand_is_met_at_once() {
        let mut all = Combinations::default();
        let stands = |m: CombinationMember| Some((AlarmId::new(m.point.get() as u128), Timestamp::from_secs(5)));
        all.set(CombinationId::new(7), Some(&rule(2, "ab", 0)), &stands, Timestamp::from_secs(9), &mut Vec::new());
        let mut out = Vec::new();
        assert_eq!(all.n_due(Timestamp::EPOCH), 1);
        all.pass(0, Timestamp::from_secs(9), &mut |_| AlarmId::new(1), &mut out);
        assert!(
            matches!(&out[..], [Effect::Alarm(AlarmChange::Raised(a)), Effect::Combined { .. }] if a.onset_at == Timestamp::from_secs(5))
        );
    }

    #[test]
    fn a_restart_between_any_two_changes_changes_nothing() {
        let steps = "0:a+ 5:c+ 20:c- 30:b+ 40:a- 60:. 90:b- 95:. 121:. 130:a+ 131:c+ 133:c- 200:.";
        let n = steps.split_whitespace().count();
        let mut whole = Play::of(&rule(2, "abc", 30));
        whole.play(steps);
        assert!(whole.said.len() > 3, "{:?}", whole.said);
        for at in 0..n {
            let mut play = Play::of(&rule(2, "abc", 30));
            for (i, step) in steps.split_whitespace().enumerate() {
                if i == at {
                    // What a checkpoint holds: the watches alone.
                    let mut again = Combinations::default();
                    play.all.watches.values().cloned().for_each(|watch| again.insert(watch));
                    play.all = again;
                }
                play.play(step);
            }
            assert_eq!(play.said, whole.said, "restart before step {at}");
        }
    }
}
