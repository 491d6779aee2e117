//! Chinese search without a dictionary: a text is the pairs of its neighbouring characters.
//!
//! `罐区泄漏` is kept as `罐区`, `区泄`, `泄漏` and the last character alone, so a search for two characters is one exact key, and one for a
//! single character is every key that begins with it. Longer words ask for all their pairs; whether these stand side by side, the plain text says.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Characters of one record that are searched; what is longer is found by its beginning.
const CHARS_MAX: usize = 2_000;
/// Words of one search.
const WORDS_MAX: usize = 8;
/// Characters of one word.
const WORD_MAX: usize = 50;

/// A text as it is compared: lower case, full-width letters and signs as their plain ones, runs of spaces as one.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        let c = match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c).to_ascii_lowercase(),
            c if c.is_whitespace() || c.is_control() => ' ',
            c => c,
        };
        if c != ' ' || !(out.is_empty() || out.ends_with(' ')) {
            out.push(c);
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// What is kept of `texts`: the plain text, and its grams, each once.
pub fn kept<'a>(texts: impl IntoIterator<Item = &'a str>) -> (String, BTreeSet<String>) {
    let mut all = String::new();
    for text in texts {
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(&plain(text));
    }
    let all: String = all.chars().take(CHARS_MAX).collect();
    let grams = all.split(' ').flat_map(grams_of).collect();
    (all, grams)
}

fn grams_of(word: &str) -> Vec<String> {
    let chars: Vec<char> = word.chars().collect();
    let pairs = chars.windows(2).map(|pair| pair.iter().collect());
    pairs.chain(chars.last().map(char::to_string)).collect()
}

/// A search: every word must be found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// Keys that must be there.
    pub grams: Vec<String>,
    /// Single characters: some key must begin with it.
    pub singles: Vec<String>,
    /// Words of three characters and more, which must stand in the plain text as they are.
    pub words: Vec<String>,
}

impl Search {
    /// What somebody typed.
    pub fn parse(text: &str) -> Self {
        let mut search = Self::default();
        for word in plain(text).split(' ').filter(|word| !word.is_empty()).take(WORDS_MAX) {
            let chars: Vec<char> = word.chars().take(WORD_MAX).collect();
            match chars.as_slice() {
                [one] => search.singles.push(one.to_string()),
                [a, b] => search.grams.push([*a, *b].iter().collect()),
                many => {
                    search.grams.extend(many.windows(2).map(|pair| pair.iter().collect::<String>()));
                    search.words.push(many.iter().collect());
                }
            }
        }
        search.grams.sort();
        search.grams.dedup();
        search
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.grams.is_empty() && self.singles.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finds(text: &str, typed: &str) -> bool {
        let (plain, grams) = kept([text]);
        let search = Search::parse(typed);
        search.grams.iter().all(|gram| grams.contains(gram))
            && search.singles.iter().all(|one| grams.iter().any(|gram| gram.starts_with(one)))
            && search.words.iter().all(|word| plain.contains(word))
    }

    #[test]
    fn a_search_finds_what_stands_there_and_nothing_else() {
        let text = "二车间 配电箱门缺失（ABC-１２）";
        for found in ["配电", "电", "失（", "配电箱门", "二车间 缺失", "abc", "Ａbc-12", "间", "）", "  配电  ", ""] {
            assert!(finds(text, found), "{found}");
        }
        for missing in ["电配", "车间配", "漏", "配电门", "abd", "配电 漏"] {
            assert!(!finds(text, missing), "{missing}");
        }
    }

    proptest! {
        /// A word is found exactly where the plain text has it.
        #[test]
        fn pairs_say_what_the_text_says(text in "[甲乙丙aB 　１]{0,12}", typed in "[甲乙丙aB１]{1,4}") {
            prop_assert_eq!(finds(&text, &typed), plain(&text).contains(&plain(&typed)));
        }
    }
}
