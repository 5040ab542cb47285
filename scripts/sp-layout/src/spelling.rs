//! Similarity of words, to find misspelt ones.

/// Returns the word of `known` of which `word` looks like a misspelling. Short words must be more
/// similar, since many correct words differ in one letter.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if known.contains(&word) || word.chars().count() < 3 {
        return None;
    }
    let allowed = (word.len() / 4).clamp(1, 3);
    let distance = |other: &&str| strsim::damerau_levenshtein(word, other);
    let nearest = known.iter().copied().min_by_key(distance)?;
    (distance(&nearest) <= allowed && nearest.len() >= 3).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_are_seen_and_other_words_are_not() {
        let known = [
            "execution-ctx-count",
            "load-address",
            "uuid",
            "id",
            "memory",
            "ns-memory",
        ];
        for (word, meant) in [
            ("execution-ctx-cnt", Some("execution-ctx-count")),
            ("load_address", Some("load-address")),
            ("memroy", Some("memory")),
            ("ns_memory", Some("ns-memory")),
            ("uid", Some("uuid")),
            ("uuid", None),
            ("ix", None),
            ("description", None),
            ("vendor,extra", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
    }
}
