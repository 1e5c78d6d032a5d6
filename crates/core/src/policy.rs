//! The policy engine: from bindings to a decision (CO-171 … CO-180).
//!
//! Who is a member of what, and what each policy said, is found out before; here it is only combined.

use crate::id::BindingId;

/// How the outcomes of several bindings combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One must pass.
    Any,
    /// Every one must pass.
    All,
}

impl Mode {
    /// Reads `any` or `all`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "any" => Some(Self::Any),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// What a binding found, before `negate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Whether a known user is the one named, or in the group named.
    Member(bool),
    /// Nobody is signed in: a user or group cannot match, not even by negation (CO-172).
    Anonymous,
    /// A policy was evaluated.
    Policy {
        /// Its outcome.
        passing: bool,
        /// What it has to say.
        messages: Vec<String>,
    },
    /// A policy could not be evaluated: error, limit, time (CO-173, CO-176).
    Failed {
        /// Why.
        message: String,
    },
    /// What the binding named is gone: it denies (CO-180).
    Orphan,
}

/// A binding with what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Which binding.
    pub binding: BindingId,
    /// Its place among the others; ties go by key.
    pub order: i32,
    /// Whether it counts.
    pub enabled: bool,
    /// Whether its outcome is inverted.
    pub negate: bool,
    /// Its outcome when the policy cannot be evaluated.
    pub failure_result: bool,
    /// What it found.
    pub finding: Finding,
}

impl Bound {
    fn passes(&self) -> bool {
        match &self.finding {
            Finding::Member(outcome) | Finding::Policy { passing: outcome, .. } => outcome != &self.negate,
            Finding::Failed { .. } => self.failure_result,
            Finding::Anonymous | Finding::Orphan => false,
        }
    }

    fn messages(&self) -> &[String] {
        match &self.finding {
            Finding::Policy { messages, .. } => messages,
            Finding::Failed { message } => std::slice::from_ref(message),
            Finding::Member(_) | Finding::Anonymous | Finding::Orphan => &[],
        }
    }
}

/// What came of all bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether access is granted.
    pub passing: bool,
    /// What the policies have to say, in order, whatever their outcome (CO-174).
    pub messages: Vec<String>,
    /// Each binding that counted, in order, and its boolean (CO-175).
    pub trace: Vec<(BindingId, bool)>,
}

/// Combines bindings. Where none counts, the answer is `empty` (CO-134, CO-135, CO-171).
pub fn decide(bindings: impl IntoIterator<Item = Bound>, mode: Mode, empty: bool) -> Decision {
    let mut bindings: Vec<_> = bindings.into_iter().filter(|bound| bound.enabled).collect();
    if bindings.is_empty() {
        return Decision { passing: empty, ..Decision::default() };
    }
    bindings.sort_by_key(|bound| (bound.order, bound.binding));
    let trace: Vec<_> = bindings.iter().map(|bound| (bound.binding, bound.passes())).collect();
    let passing = match mode {
        Mode::Any => trace.iter().any(|(_, passes)| *passes),
        Mode::All => trace.iter().all(|(_, passes)| *passes),
    };
    let messages = bindings.iter().flat_map(Bound::messages).cloned().collect();
    Decision { passing, messages, trace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn bound(number: u128, finding: Finding) -> Bound {
        let binding = BindingId(Uuid::from_u128(number));
        Bound { binding, order: 0, enabled: true, negate: false, failure_result: false, finding }
    }

    fn policy(passing: bool, message: &str) -> Finding {
        Finding::Policy { passing, messages: vec![message.to_owned()] }
    }

    fn passes(bound: Bound) -> bool {
        decide([bound], Mode::Any, true).passing
    }

    /// CO-134, CO-135, CO-171: without a binding that counts, the empty result holds in both modes.
    #[test]
    fn co_171_nothing_that_counts_gives_the_empty_result() {
        let disabled = Bound { enabled: false, ..bound(1, Finding::Member(true)) };
        for mode in [Mode::Any, Mode::All] {
            for empty in [true, false] {
                assert_eq!(decide([], mode, empty).passing, empty);
                assert_eq!(decide([disabled.clone()], mode, empty).passing, empty);
            }
        }
    }

    /// CO-171: `any` needs one that passes, `all` needs every one.
    #[test]
    fn co_171_any_needs_one_and_all_needs_every_one() {
        for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
            let bindings = [bound(1, Finding::Member(first)), bound(2, policy(second, "m"))];
            assert_eq!(decide(bindings.clone(), Mode::Any, false).passing, first || second);
            assert_eq!(decide(bindings, Mode::All, true).passing, first && second);
        }
    }

    /// CO-172: negation inverts membership, but an anonymous visitor never matches.
    #[test]
    fn co_172_negation_inverts_membership_but_not_anonymity() {
        let negated = |finding| Bound { negate: true, ..bound(1, finding) };
        assert!(passes(bound(1, Finding::Member(true))) && !passes(negated(Finding::Member(true))));
        assert!(!passes(bound(1, Finding::Member(false))) && passes(negated(Finding::Member(false))));
        assert!(!passes(bound(1, Finding::Anonymous)) && !passes(negated(Finding::Anonymous)));
    }

    /// CO-173: a policy that cannot be evaluated counts as `failure_result`, not inverted, with a message.
    #[test]
    fn co_173_failure_counts_as_said_and_is_not_inverted() {
        for failure_result in [true, false] {
            for negate in [true, false] {
                let finding = Finding::Failed { message: "took too long".to_owned() };
                let decision = decide([Bound { failure_result, negate, ..bound(1, finding) }], Mode::All, true);
                assert_eq!(decision.passing, failure_result);
                assert_eq!(decision.messages, ["took too long"]);
            }
        }
    }

    /// CO-174, CO-175: messages and trace are complete and in order, whatever the outcome and negation.
    #[test]
    fn co_174_messages_and_trace_are_complete_and_in_order() {
        let bindings = [
            Bound { order: 5, ..bound(1, policy(true, "third")) },
            Bound { order: 1, negate: true, ..bound(3, policy(true, "second")) },
            Bound { order: 1, ..bound(2, policy(true, "first")) },
            Bound { order: 2, ..bound(4, Finding::Member(false)) },
        ];
        let decision = decide(bindings, Mode::Any, false);
        assert_eq!(decision.messages, ["first", "second", "third"]);
        let trace: Vec<_> = decision.trace.iter().map(|(binding, passes)| (binding.0.as_u128(), *passes)).collect();
        assert_eq!(trace, [(2, true), (3, false), (4, false), (1, true)]);
    }

    /// CO-180: an orphan denies, whatever its switches say, and is no empty result.
    #[test]
    fn co_180_an_orphan_denies() {
        for (negate, failure_result) in [(true, true), (true, false), (false, true), (false, false)] {
            assert!(!passes(Bound { negate, failure_result, ..bound(1, Finding::Orphan) }));
        }
    }

    prop_compose! {
        fn any_bound()(
            number in 0u128..6, order in -2i32..3, enabled: bool, negate: bool, failure_result: bool,
            kind in 0u8..5, outcome: bool,
        ) -> Bound {
            let finding = match kind {
                0 => Finding::Member(outcome),
                1 => Finding::Anonymous,
                2 => Finding::Failed { message: "x".to_owned() },
                3 => Finding::Orphan,
                _ => policy(outcome, "y"),
            };
            Bound { order, enabled, negate, failure_result, ..bound(number, finding) }
        }
    }

    proptest! {
        /// CO-171, CO-175: disabled bindings change nothing, and one run evaluates all the others.
        #[test]
        fn co_175_all_enabled_bindings_are_evaluated(bindings in prop::collection::vec(any_bound(), 0..12), any: bool, empty: bool) {
            let mode = if any { Mode::Any } else { Mode::All };
            let enabled: Vec<_> = bindings.iter().filter(|bound| bound.enabled).cloned().collect();
            let decision = decide(bindings, mode, empty);
            prop_assert_eq!(decision.trace.len(), enabled.len());
            prop_assert_eq!(&decision, &decide(enabled.clone(), mode, empty));
            if !enabled.is_empty() {
                prop_assert_eq!(&decision, &decide(enabled, mode, !empty));
            }
        }
    }
}
