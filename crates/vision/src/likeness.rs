//! How alike two faces are, as people read it: from 0 to 100.
//!
//! Cosines of the recogniser (SFace) say little by themselves: from .5 on two faces are one person's, and
//! half of the scale is above that. So it is bent at what was measured, against the mean of up to four
//! photos:
//!
//! | cosine | percent | what was measured there |
//! |---|---|---|
//! | 0 and less | 0 | most strangers lie below .2 |
//! | .363 | 50 | one pair of strangers in 10,000 is this alike |
//! | .45 | 70 | no pair of strangers among 47,000 (the most similar: .42); every pair of one person at 78 px |
//! | .5 | 80 | from here Garim shows a person who is kept; .99 of the pairs of one person at 44 px |
//! | .64 | 90 | 95 of 100 pairs of one person at 78 px |
//! | 1 | 100 | the same picture |
//!
//! Between these it is straight. 80 is a good threshold where a wrong match does harm, 50 where a person
//! looks at all results.

/// Cosine and percent, both rising.
const SCALE: [(f32, f32); 6] =
    [(0.0, 0.0), (0.363, 50.0), (0.45, 70.0), (0.5, 80.0), (0.64, 90.0), (1.0, 100.0)];

/// A cosine similarity as a number from 0 to 100: see the module. Never falls where `cosine` rises; 0 for
/// what is not a number.
pub fn percent(cosine: f32) -> f32 {
    let (_, most) = SCALE[SCALE.len() - 1];
    let above = SCALE.iter().position(|(at, _)| cosine < *at);
    match above {
        Some(0) => 0.0,
        Some(n) => {
            let ((c0, p0), (c1, p1)) = (SCALE[n - 1], SCALE[n]);
            p0 + (p1 - p0) * ((cosine - c0) / (c1 - c0))
        }
        None if cosine.is_nan() => 0.0,
        None => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_falls_and_stays_between_0_and_100() {
        let all: Vec<f32> = (-1100..=1100).map(|n| percent(n as f32 / 1000.0)).collect();
        assert!(all.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!((all.first(), all.last()), (Some(&0.0), Some(&100.0)));
        assert_eq!(percent(f32::NAN), 0.0);
    }

    #[test]
    fn a_kept_persons_threshold_is_80_and_the_most_similar_stranger_is_below_70() {
        assert_eq!(percent(crate::identify::Rules::default().threshold), 80.0);
        assert!(percent(0.42) < 70.0);
    }
}
