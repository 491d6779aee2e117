//! Transfer of home (主管移交): which of two nodes may change what is being handed over, decided from what each has heard.
//!
//! The giver stops changing it with its offer and goes on only when the target has said that it did not take it; the target takes it once, in one commit,
//! and its word *taken* stands whatever the giver does. So at no moment both may change it, and after a cut neither has lost it. Pure: `store` keeps the
//! states, and the simulation of the network runs these very lines. Start at [`Given::hear`].

/// How a transfer stands at its giver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Given {
    /// It is on its way; nothing was heard.
    Offered,
    /// It was taken back here; the target has not said that it knows.
    Withdrawing,
    /// The target is home.
    Taken,
    /// The target cannot take it; this node is home.
    Refused,
    /// The target knows that it was taken back; this node is home.
    Withdrawn,
}

/// What a target says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// It is home.
    Taken,
    /// It cannot be.
    Refused,
    /// It knows that it was taken back.
    Withdrawn,
}

/// What a target does when it hears the head of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It has had its say, which is on its way: said again it would come behind what follows from it.
    Said,
    /// It was taken back before it was taken: it says so.
    GiveUp,
    /// All of it is here: it is taken, or refused.
    Take,
    /// Parts of it are not here, and come no more: the head comes behind them. It is refused.
    Lacks,
}

impl Given {
    const ALL: [Self; 5] = [Self::Offered, Self::Withdrawing, Self::Taken, Self::Refused, Self::Withdrawn];
    /// The word on the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Withdrawing => "withdrawing",
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Withdrawn => "withdrawn",
        }
    }
    /// The state named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
    /// Nobody changes it here, and the target may take it: something is still to be heard.
    pub fn is_open(self) -> bool {
        if self == Self::Withdrawing {
            // safety: what was taken back is nobody's to change until the target has said that it did not take it
            return true;
        }
        self == Self::Offered
    }
    /// The target must not take it any more.
    pub fn is_back(self) -> bool {
        if matches!(self, Self::Refused | Self::Withdrawn) {
            // safety: what its giver changes again must not be taken by a target that was set back
            return true;
        }
        self == Self::Withdrawing
    }
    /// A person takes it back; `None` = it is over already, or that was done.
    pub fn withdraw(self) -> Option<Self> {
        match self {
            Self::Offered => Some(Self::Withdrawing),
            _ => None,
        }
    }
    /// The target has spoken. It has one last word: whoever said that it did not take it is not believed when it says later that it did, for the giver has gone on.
    #[must_use]
    pub fn hear(self, said: Said) -> Self {
        if !self.is_open() {
            // What was said stands: the giver has gone on, or the target has it.
            return self;
        }
        match said {
            Said::Taken => Self::Taken,
            Said::Refused => Self::Refused,
            Said::Withdrawn => Self::Withdrawn,
        }
    }
}

impl Said {
    const ALL: [Self; 3] = [Self::Taken, Self::Refused, Self::Withdrawn];
    /// The word between nodes and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Withdrawn => "withdrawn",
        }
    }
    /// What `word` says.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|said| said.as_str() == word)
    }
}

/// What a target does on hearing the head, which comes behind all parts. It takes on hearing alone, never from what it remembers: a target that was set back to
/// a backup may remember an offer that was taken back since.
pub fn on_hearing(said: Option<Said>, is_back: bool, is_whole: bool) -> Heard {
    if said.is_some() {
        // safety: it is taken once, and what was said stands
        return Heard::Said;
    }
    if is_back {
        // The giver goes on with it the sooner.
        return Heard::GiveUp;
    }
    if is_whole { Heard::Take } else { Heard::Lacks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_word_is_the_last() {
        for start in Given::ALL {
            for first in Said::ALL {
                for second in Said::ALL {
                    let end = start.hear(first);
                    assert!(!end.is_open());
                    assert_eq!(end.hear(second), end, "{start:?} {first:?} {second:?}");
                    assert_eq!(end == start, !start.is_open());
                }
            }
        }
    }

    #[test]
    fn the_giver_goes_on_only_when_the_target_did_not_take_it() {
        assert_eq!(Given::Offered.withdraw(), Some(Given::Withdrawing));
        assert!(Given::Withdrawing.is_open(), "nobody knows yet");
        assert_eq!(Given::Withdrawing.hear(Said::Taken), Given::Taken);
        assert_eq!(Given::Withdrawing.hear(Said::Withdrawn), Given::Withdrawn);
        assert!([Given::Withdrawing, Given::Taken, Given::Refused, Given::Withdrawn].iter().all(|state| state.withdraw().is_none()));
        // What is over is told as taken back: a target that was set back takes nothing that its giver changes again.
        assert!(Given::Refused.is_back() && Given::Withdrawn.is_back() && !Given::Offered.is_back());
    }

    #[test]
    fn a_target_has_one_say() {
        assert_eq!(on_hearing(None, false, false), Heard::Lacks);
        assert_eq!(on_hearing(None, false, true), Heard::Take);
        assert_eq!(on_hearing(None, true, true), Heard::GiveUp);
        for said in Said::ALL {
            for (is_back, is_whole) in [(false, false), (false, true), (true, false), (true, true)] {
                assert_eq!(on_hearing(Some(said), is_back, is_whole), Heard::Said);
            }
        }
    }

    #[test]
    fn words_are_read_back() {
        assert!(Given::ALL.into_iter().all(|state| Given::parse(state.as_str()) == Some(state)));
        assert!(Said::ALL.into_iter().all(|said| Said::parse(said.as_str()) == Some(said)));
        assert_eq!((Given::parse(""), Said::parse("offered")), (None, None));
    }
}
