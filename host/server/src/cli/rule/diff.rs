//! Two texts compared line by line.
//!
//! Owns: [`diff`]. Must not: know chains.

/// Lines that stand around a change.
const AROUND: usize = 2;
/// Pairs of lines that are compared at most; texts that need more are shown as replaced between their common ends.
const PAIRS: usize = 4_000_000;

/// Lines of `new` against `old`: `-` gone, `+` come, two blanks the same, `@@` before each place with its line in `new`.
pub(super) fn diff(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let marked = mark(&old, &new);
    let near = |at: usize| {
        let (from, to) = (at.saturating_sub(AROUND), at + AROUND + 1);
        let window = marked.get(from..to.min(marked.len()));
        window.is_some_and(|lines| lines.iter().any(|(mark, _)| *mark != ' '))
    };
    let (mut shown, mut line, mut was_near) = (Vec::new(), 1, false);
    for (at, (mark, text)) in marked.iter().enumerate() {
        let is_near = near(at);
        if is_near && !was_near {
            shown.push(format!("@@ line {line}"));
        }
        if is_near {
            shown.push(format!("{mark} {text}"));
        }
        was_near = is_near;
        line += usize::from(*mark != '-');
    }
    shown
}

fn mark<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(char, &'t str)> {
    let same = |(one, other): &(&&str, &&str)| one == other;
    let head = old.iter().zip(new).take_while(same).count();
    let ((old_head, old_rest), (_, new_rest)) = (old.split_at(head), new.split_at(head));
    let tail = (old_rest.iter().rev().zip(new_rest.iter().rev()))
        .take_while(same)
        .count();
    let (old_middle, old_tail) = old_rest.split_at(old_rest.len() - tail);
    let (new_middle, _) = new_rest.split_at(new_rest.len() - tail);
    let same = |line: &&'t str| (' ', *line);
    let mut marked: Vec<_> = old_head.iter().map(same).collect();
    between(old_middle, new_middle, &mut marked);
    marked.extend(old_tail.iter().map(same));
    marked
}

/// Lengths of the longest common subsequences of what is left from each pair of lines on.
struct Longest {
    width: usize,
    lengths: Vec<u32>,
}

impl Longest {
    /// Nothing is common if there is too much to compare.
    fn of(old: &[&str], new: &[&str]) -> Self {
        let width = new.len() + 1;
        let all = (old.len() + 1).saturating_mul(width);
        let mut longest = Self {
            width,
            lengths: vec![0; if all <= PAIRS { all } else { 0 }],
        };
        if longest.lengths.is_empty() {
            return longest;
        }
        for (i, one) in old.iter().enumerate().rev() {
            for (j, other) in new.iter().enumerate().rev() {
                let length = match one == other {
                    true => longest.at(i + 1, j + 1) + 1,
                    false => longest.at(i + 1, j).max(longest.at(i, j + 1)),
                };
                if let Some(place) = longest.lengths.get_mut(i * width + j) {
                    *place = length;
                }
            }
        }
        longest
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        let place = self.lengths.get(i * self.width + j);
        place.copied().unwrap_or(0)
    }
}

fn between<'t>(old: &[&'t str], new: &[&'t str], marked: &mut Vec<(char, &'t str)>) {
    let longest = Longest::of(old, new);
    let (mut i, mut j) = (0, 0);
    while let (Some(one), Some(other)) = (old.get(i), new.get(j)) {
        if one == other && longest.at(i, j) > 0 {
            marked.push((' ', one));
            (i, j) = (i + 1, j + 1);
        } else if longest.at(i + 1, j) >= longest.at(i, j + 1) {
            marked.push(('-', one));
            i += 1;
        } else {
            marked.push(('+', other));
            j += 1;
        }
    }
    marked.extend(old.iter().skip(i).map(|line| ('-', *line)));
    marked.extend(new.iter().skip(j).map(|line| ('+', *line)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_shown_with_what_stands_around_them() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\n";
        assert!(diff(old, old).is_empty());
        let new = "a\nb\nc\nX\ne\nf\ng\nh\ni\n";
        let expected = [
            "@@ line 2",
            "  b",
            "  c",
            "- d",
            "+ X",
            "  e",
            "  f",
            "  g",
            "  h",
            "+ i",
        ];
        assert_eq!(diff(old, new), expected);
        let far = "0\na\nb\nc\nd\ne\nf\ng\n";
        let expected = [
            "@@ line 1",
            "+ 0",
            "  a",
            "  b",
            "@@ line 7",
            "  f",
            "  g",
            "- h",
        ];
        assert_eq!(diff(old, far), expected);
        assert_eq!(diff("", "a"), ["@@ line 1", "+ a"]);
        assert_eq!(diff("a", ""), ["@@ line 1", "- a"]);
    }

    #[test]
    fn texts_that_are_too_long_are_replaced_between_their_common_ends() {
        let many = |mark: &str| {
            let lines = (0..2100).map(|number| format!("{mark}{number}\n"));
            format!("first\n{}last\n", lines.collect::<String>())
        };
        let shown = diff(&many("a"), &many("b"));
        assert_eq!(shown.len(), 1 + 1 + 2 * 2100 + 1);
        assert_eq!((&*shown[1], &*shown[2]), ("  first", "- a0"));
    }
}
