//! Orders: each given once and told downwards, level by level, to a node below. Nobody tells of one again of himself, so that one which is passed over is lost.
//! And nodes that are put back to a backup and start several times before they meet anybody.

use super::{Durable, Event, S, TROUBLE, World};

impl World {
    /// People give an order to somebody below.
    pub(super) fn give(&mut self, node: usize) {
        if !self.nodes[node].is_up || self.now >= TROUBLE || self.now < self.nodes[node].full_until || !self.random.chance(500) {
            return;
        }
        let mut below = self.subtree(node);
        below.remove(&self.nodes[node].name);
        let below = Vec::from_iter(below);
        if let Some(target) = below.get(self.random.below(below.len() as u64) as usize).copied() {
            let order = self.random.next();
            self.pass_on(node, order, target);
            self.grow(node);
        }
    }

    /// Keeps an order and tells it to the child through which its target is heard.
    fn pass_on(&mut self, node: usize, order: u64, target: usize) {
        self.nodes[node].durable.orders.insert(order, target);
        if let Some(child) = self.towards(node, target) {
            self.put_down(node, child, format!("order:{order}"), target.to_string());
        }
    }

    fn towards(&self, node: usize, target: usize) -> Option<usize> {
        let through = |child: &&usize| self.subtree(**child).contains(&target);
        self.nodes[node].children.iter().find(through).map(|child| self.nodes[*child].name)
    }

    /// From above.
    pub(super) fn hear_order(&mut self, node: usize, rest: &str, body: &str) {
        let (order, target): (u64, usize) = (rest.parse().expect("an order"), body.parse().expect("a node"));
        if !self.nodes[node].durable.orders.contains_key(&order) {
            self.pass_on(node, order, target);
        }
    }

    /// Half of those that are put back start two or three times, and say what is new then, before anybody hears them.
    pub(super) fn put_back(&mut self, node: usize, backup: Durable) {
        self.crash(node);
        self.went_back.insert(self.nodes[node].name);
        self.nodes[node].durable = backup;
        if self.random.chance(500) {
            return self.soon(20 * S, Event::Start(node));
        }
        let mut time = self.now + 1 + self.random.below(5 * S);
        self.at(time, Event::Start(node));
        for _ in 0..1 + self.random.below(2) {
            time += 2 * S + self.random.below(12 * S);
            self.at(time, Event::Crash(node));
            time += 1 + self.random.below(S);
            self.at(time, Event::Start(node));
        }
        let until = time + self.random.below(12 * S);
        self.alone.insert(node, until);
    }

    /// At rest: whoever knows of an order has told the next one below of it.
    pub(super) fn check_orders(&mut self, node: usize) {
        for (order, target) in self.nodes[node].durable.orders.clone() {
            self.report.checks += 1;
            if let Some(child) = self.towards(node, target)
                && !self.nodes[child].durable.orders.contains_key(&order)
            {
                self.wrong(format!("order {order} of {node} for {target} never came to {child}"));
            }
        }
    }
}
