//! Scores: how well a match fits the words that were asked for, from 0 to 1.
//!
//! The full text index says it of each find, in proportion to its best one. Where several filters ask for words, a match
//! has the mean of what each says.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#score> (rest 4.213)

use std::collections::HashMap;

use crate::search::request::{Filter, SortBy, SortKey};

use super::super::SearchPage;

/// What all filters that rank have found, best first, each once.
pub(in crate::store::search) fn ranked(filters: &[&Filter]) -> Vec<(i64, f64)> {
    let mut found: HashMap<i64, (usize, f64)> = HashMap::new();
    let ranking = filters.iter().filter_map(|filter| match filter {
        Filter::Keys(keys) if !keys.scores.is_empty() => Some(keys),
        _ => None,
    });
    let mut rankings = 0;
    for keys in ranking {
        for (rid, score) in keys.rids.iter().zip(&keys.scores) {
            let (times, sum) = found.entry(*rid).or_default();
            if *times == rankings {
                *times += 1;
                *sum += f64::from(*score);
            }
        }
        rankings += 1;
    }
    let in_all = found.into_iter().filter(|(_, (times, _))| *times == rankings);
    let mut ranked: Vec<_> = in_all.map(|(rid, (times, sum))| (rid, sum / times as f64)).collect();
    ranked.sort_unstable_by(|one, other| other.1.total_cmp(&one.1).then(other.0.cmp(&one.0)));
    ranked
}

/// Says how well each match fits, where the order goes by that.
pub(in crate::store::search) fn score(
    page: &mut SearchPage,
    sort: &[SortKey],
    filters: &[&Filter],
) {
    if !sort.iter().any(|key| key.by == SortBy::Score) {
        return;
    }
    let scores: HashMap<i64, f64> = ranked(filters).into_iter().collect();
    for found in &mut page.matches {
        found.score = scores.get(&found.rid).copied();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::request::Keys;

    #[test]
    fn a_match_has_the_mean_of_its_scores_and_what_has_none_does_not_count() {
        let keys = |of: &[(i64, f32)]| {
            let (rids, scores) = of.iter().copied().unzip();
            Filter::Keys(Keys { rids, scores })
        };
        let list = Filter::Keys(Keys { rids: vec![9, 1], scores: vec![] });
        let one = keys(&[(1, 1.0), (2, 0.5), (3, 0.25), (2, 0.5)]);
        let other = keys(&[(2, 1.0), (1, 0.25), (4, 0.125)]);
        assert_eq!(ranked(&[&list, &one]), [(1, 1.0), (2, 0.5), (3, 0.25)]);
        assert_eq!(ranked(&[&one, &list, &other]), [(2, 0.75), (1, 0.625)]);
        assert_eq!(ranked(&[&list]), []);
    }
}
