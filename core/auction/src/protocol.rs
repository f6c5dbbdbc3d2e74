//! The protocol on paper: what every proof states, what it hashes, who learns what, and what nobody can prove.
//! Written for whoever reviews it or builds a second verifier; no code is here.
//!
//! # Notation
//!
//! Everything is in ristretto255 (RFC 9496). `G` is the standard base; `A` ([`base_a`](crate::group::base_a)) a hash
//! to the group. The committee shares `t`; `T_j = t_j*G`, `A_j = t_j*A`, and `H = t*A` is the base of blindings
//! ([`key`](crate::key)). The buyer's key is `b`, `pk = b^-1*A`. A bid of `v` ticks is `C = v*G + r*H`, `D = r*pk`.
//! The committee answers `W = t*D = r*t*b^-1*A`, so `b*W = r*H` and `C - b*W = v*G`, 16 bits of which the buyer
//! finds. Since nobody knows `log_G A`, nobody knows `log_G H`, a quorum included: commitments bind everybody.
//!
//! With energy `e` (kWh), weight `k`, station `i` at `(a_i, c_i)` and the buyer at `(x, y)`, the score is `s_i =
//! e*v_i + d_i`, the detour `d_i = k*((x - a_i)^2 + (y - c_i)^2)`; [`score`](crate::score) shows why nothing wraps.
//! The intent commits `X`, `Y` to `x`, `y`, `Q` to `q = x^2 + y^2` and `M` to the reserve `m`. As `d_i = k*(q -
//! 2*a_i*x - 2*c_i*y + a_i^2 + c_i^2)` is linear, anybody computes the commitment to any station's detour, `K_i =
//! k*(Q - 2*a_i*X - 2*c_i*Y + (a_i^2 + c_i^2)*G)`; the buyer cannot move after it has seen the bids.
//!
//! **By road** ([`Choice::BestByRoad`](crate::intent::Choice::BestByRoad)) the intent holds a table, for each station
//! the buyer knows a commitment `R_i` to a number of 16 bits, the way by road squared in units of 8 square steps. For
//! a station in the table `K_i = 8*k*R_i`; for any other, as above. Everything else is the same, so the proof that an
//! entry is the one in the intent is the outcome's own link: its `K_i` is computed from the intent's bytes.
//!
//! # Statements
//!
//! Linear proofs ([`LinearProof`](crate::group::LinearProof), Schnorr's proof generalised) are 32 bytes of challenge
//! and 32 for each secret. Range proofs ([`RangeProof`](crate::group::RangeProof)) are Bulletproofs+ in chunks of 16
//! over the same transcript, continued after the linear proof. The proof that one of several commitments hides zero
//! ([`SomeZero`](crate::group::SomeZero), Cramer, Damgård and Schoenmakers) is 64 bytes for each commitment, between
//! the two.
//!
//! | proof | prover knows | such that | ranges |
//! |---|---|---|---|
//! | blinding share | `t_j` | `T_j = t_j*G`, `A_j = t_j*A` | |
//! | deal (FROST) | `a_0` | first coefficient `= a_0*G` | |
//! | intent | `b, x, r_x, y, r_y, z` | `A = b*pk`, `X = x*G + r_x*H`, `Y = y*G + r_y*H`, `Q = x*X + y*Y + z*H` | X, Y: 8 bits; M: 32 bits; each `R_i`: 16 bits |
//! | bid | `v, r` | `C = v*G + r*H`, `D = r*pk` | C: 16 bits |
//! | release, each share | `t_j` | `T_j = t_j*G`, `sum p^i*W_ij = t_j * sum p^i*D_i` | |
//! | outcome | `b, z` | `A = b*pk`, `L = b*B + z*H`, and if the winner's price is shown `C_w - v_w*G = b*W_w` | each `V_n`: 32 bits |
//! | second score | `k, z` | some setter's `O_k = z*H` | |
//!
//! `p` is a challenge drawn when all that it multiplies is in the transcript; its powers start at 1. In an outcome
//! each `V_n` commits to a difference that must not be negative:
//!
//! | decision | differences, in order |
//! |---|---|
//! | best | `s_i - s_w` for each other bid in ledger order, one less where `i < w`; then `m - s_w` |
//! | own choice | none |
//! | no eligible bid | `s_i - m - 1` for each bid |
//! | second score | `s_i - S` for each other bid in ledger order, less `u` where `i < w`; `m - S`; `65535*e + d_w - S`; `S - s_w`; `2^14 - 1 - g`; `S - s_w + u - 1`; then `g` and `u` themselves |
//!
//! and `L = sum p^n*(difference n over e*C_i + K_i, M, G, other V, minus V_n)`, `B = sum p^n*(the same over e*W_i)`,
//! the two last of a second score left out, because nothing fixes them but their range. If one `V_n` hid anything
//! else, `L - b*B` would have a part along `G` for all but few `p`.
//!
//! ## Second score
//!
//! `S` is the least of the other scores, the reserve `m`, and the winner's score had it bid the cap, `65535*e + d_w`.
//! The winner is paid `S - d_w` for the whole energy, rounded up to `F`, a multiple of `2^14` score units; the
//! remainder `g = F - (S - d_w)` stays hidden. Public is only `F / 2^14`, so in the proof `S` stands for `F + d_w -
//! g`, whose commitment is `F*G + K_w - V_g`. What the winner bid is not shown.
//!
//! The *setters* are the other bids, the reserve and the cap, in this order; `O_k` is the commitment to `(that) - S`:
//! the `V` of the same place, plus `V_u` for a bid before the winner. That one of them hides zero and none is
//! negative makes `S` the least. Which one it is stays hidden.
//!
//! Ties go by ledger order as everywhere: `u` may be any number, but is at least 1 if `S = s_w`, and every earlier
//! bid is above `S` by at least `u`. If nobody else bid, reserve or cap set the pay. If nobody is within the reserve,
//! the decision and its proof are those of any auction.
//!
//! *Money.* The contract pays a price for each kWh that flows, so the ledger's price is the pay `min(F, 65535*e)`,
//! times the tick, divided by `e`, in micro-units by the house's one rounding rule: for the whole energy the pay to
//! within half a micro-unit a kWh, in whoever's favour it falls; never below what the winner bid, never above the cap
//! ([`Payment::price`](crate::outcome::Payment::price)). What is rounded up to `2^14` units is the seller's.
//! [`Terms::reserve_of`](crate::intent::Terms::reserve_of) leaves room for both, so that a buyer never pays more than
//! it named. When less than the whole energy is delivered, the price stays and the sum shrinks in proportion: the
//! auction fixes a price, and "total paid" is what it comes to for the whole energy. The detour is the buyer's own
//! cost; it is paid to nobody and does not shrink. As neither the second score nor the remainder depends on the
//! winner's bid, bidding what one needs is best, with or without rounding.
//!
//! *Bytes* of the proof for 4, 10, 32, 100 and 256 bids: 1505, 2081, 5667, 15335, 37937.
//!
//! # Transcripts
//!
//! Merlin, `ohmesh/auction/1`, then these messages (label: content), integers as Merlin's `u64` unless said
//! otherwise:
//!
//! - all but the blinding share: `proof`: kind; `zone`: 32 bytes; `epoch`; `H`: 32 bytes; `buyer`: its signing key;
//!   `auction`: its id; `prover`: the last column below.
//! - blinding share: `proof`, `zone`, `epoch`, `share`, `T`, `A` (`H` does not exist yet).
//!
//! | kind | then | prover |
//! |---|---|---|
//! | `intent` | nothing: in place of the id stands the hash of terms and commitments, and of the table by road if there is one | the buyer's key |
//! | `bid` | `C`, `D` | the station |
//! | `release` | `T`, `bids`: their number, for each `D`, `W`; challenge `rho` | validator (2 bytes, big-endian) and share (1 byte) |
//! | `outcome` | `decision`: postcard, award included; `bids`, for each `station`, `x`, `y` (4 bytes, big-endian), `C`, `D`, `W`; `differences`, for each `V`; challenge `rho` | the buyer's key |
//!
//! A linear proof appends `announcement` for each relation in the order of the table and draws `challenge`. The proof
//! of a second score goes on with `announcement` for each setter and draws `challenge`: the sum of its branches'
//! challenges. A chunk of range proofs continues a copy with `range bits` and `range chunk` (from 0). Announcements
//! are `sum of response*base - challenge*image`. The deal's proof is that of the key generation library, hashed by
//! its rule (share and points, not the zone); what binds it is the ledger's transaction and the dealer's need to know
//! the polynomial for its handout.
//!
//! Hashes and signatures besides: the auction's id is the hash of the whole intent, proofs included; the acceptance
//! names the hash of the whole outcome; an award is sealed (HPKE, RFC 9180, base mode) under `ohmesh/1 award`, zone,
//! auction and station.
//!
//! # A winner that does not come, an award that nobody can read
//!
//! When the ledger strikes a winner out, its bid and its `W_w` leave their lists
//! ([`Opening::without`](crate::release::Opening::without)), and the same proof runs over what is left: no new bid, no
//! new release. It hashes those that are left, so an outcome of before is none of after. Each further proof tells the
//! other losers one more inequality about the position.
//!
//! A winner that cannot read its award shows so with its shared secret, `D = m*8E` and `P = m*8B` on curve25519, one
//! equality proof (transcript `ohmesh/1 revealed secret`: key, info, encapsulated key, ciphertext, `D`, the two
//! announcements); then all can try to open it ([`award::Unreadable`](crate::award::Unreadable)). An award under a key
//! off the curve or of small order, of which nothing could be shown, is refused with its outcome.
//!
//! # Without infrastructure
//!
//! Car to car there is no committee and no ledger: `t = 1`, so `H = A` and `W_i = D_i`, epoch `2^64 - 1`. All proofs
//! are the same. What the committee's lock gives otherwise, the order of messages gives here: hashes, one signed
//! roster, bids; see [`v2v`](crate::v2v). The buyer opens a bid as soon as it has it, but then the set of bids is
//! fixed. Not given: forced opening. So a bid can be withheld after the roster; it is then left out, for all to see,
//! and second scores, which a withheld bid could lower, are refused.
//!
//! # Who learns what
//!
//! | party | learns | never |
//! |---|---|---|
//! | everybody | area, energy, deadline, filters, detour weight, cap; who bid; who won; the price, or a second score rounded up | losing prices, the position, the reserve; by second score also what the winner bid and who set the pay |
//! | a losing bidder | besides, that its own score is at least the winner's: an inequality about the position | |
//! | the winner | besides, where to meet | losing prices |
//! | the buyer, after release | all prices | any price before a quorum released |
//! | a quorum without the buyer | nothing more | prices, position, reserve |
//! | a quorum with the buyer | bids before the deadline | |
//! | bidders without infrastructure | besides, where rivals say they stand | losing prices |
//!
//! # What is not hidden, and what nobody can prove
//!
//! - The buyer sees every price after the release and can publish them, or sell them. It can also ask only to read
//!   prices: admission costs money that does not come back, nothing more stands in the way.
//! - Every losing bidder learns an inequality about the buyer's position. Who owns many stations learns many at once.
//!   The example `leak` plays an operator of 20 stations among 20 others and counts the places, of 65,536, from which
//!   the public outcome could have come, median of 200 auctions:
//!
//!   | detour weight | first price | second score exact | rounded up | exact, own bid set it | rounded up, own bid set it |
//!   |---|---|---|---|---|---|
//!   | 1 | 48,791 | 28,661 | 34,692 | 2 | 8,944 |
//!   | 4 | 31,780 | 17,354 | 20,734 | 3 | 3,744 |
//!   | 16 | 23,132 | 13,755 | 14,295 | 2 | 1,325 |
//!   | 64 | 14,477 | 7,936 | 8,057 | 2 | 348 |
//!   | 256 | 9,780 | 5,935 | 5,962 | 2 | 107 |
//!   | 1024 | 8,559 | 5,372 | 5,383 | 2 | 29 |
//!   | 2047 | 8,596 | 5,401 | 5,406 | 2 | 14 |
//!
//!   The last two columns add what the operator cannot know but may guess: that its own best losing bid set the pay.
//!   Where it owns all stations but the winner's that guess is as good as certain. What a second score tells for
//!   certain leaves about 0.6 times the places of a first price, rounded or not; with the guess it tells the place,
//!   and rounded still 5 to 600 times more than a first price: hence rounding, and hence off by default. A high
//!   detour weight tells more under either rule.
//! - That the position is true, or the table of roads: the proof says only that it was fixed before the first bid. A
//!   buyer that lies about where it is pays for it with a worse winner.
//! - That bidders did not agree on prices, or that buyer and a bidder are not one. A bid of the buyer's own is a
//!   reserve that it cannot see past or take back.
//! - That every bid that was sent was included: what counts is what is on the ledger by the deadline, and blocks of
//!   proposers with more than a third of the stake pass before it.
//! - That energy is delivered: the contract and its meters see to that.
//! - IP addresses, and who talks to whom when.
//! - Bids recorded today open to whoever breaks the group tomorrow, with a quantum computer too. Commitments to
//!   position and reserve hide for ever, but what `pk`, `D` and the proofs tie to them does not.
//! - The composition of the parts has no published security proof. Each part has one; this page is the argument that
//!   they fit.
//!
//! # Parameters, and why
//!
//! | parameter | value | because |
//! |---|---|---|
//! | price | 16 bits of ticks of `ceil(cap/65535)` | the range proof is the cap, and the buyer finds 16 bits at once |
//! | energy | 1 to 16,383 kWh | price times energy stays below 2^30 |
//! | position | 8 bits each way | 65,536 places in an area of at least 20 stations |
//! | eligible station | -256 to 511 each way | a square distance stays below 2^19 |
//! | detour weight | 0, 1, 4, .. 2047 | below 2^11: a detour stays below 2^30; 8 steps tell little about the buyer |
//! | road table | 64 entries of 16 bits, units of 8 square steps | as far as a straight line; 64 B each and a range proof a 16 |
//! | differences, reserve | 32 bits | scores stay below 2^31, so a difference is in range or nowhere near it |
//! | pay of a second score | steps of 2^14 units | at 40 kWh and a cap of 0.79 a step is 0.21; see the leak above |
//! | chunk | 16 commitments a range proof | one proof for 256 verifies twelve times slower and saves few bytes |
//! | bids | 256 | bounds a release, an outcome, and a replica's work |
//! | bidders without infrastructure | 16 | within reach of a radio |
//! | shares | 32, threshold above two thirds | a faulty third neither opens early nor keeps closed |
//! | challenges, scalars, blindings | 512 bits reduced | the bias is below 2^-250 |
//!
//! # Cheats
//!
//! Each is a test of its own, in the file of the message, that expects the error named here.
//!
//! | cheat | refused as |
//! |---|---|
//! | worse winner, wrong winner of a tie, winner above the reserve, "nobody eligible" where somebody is | `OutcomeError::Range` |
//! | lie about losing prices or the reserve, moved position, changed table entry, price or pay that is not the bid's, swapped award, somebody else than the buyer, an opening of one's own making (early outcome), bids in another order, outcome under another auction's name | `OutcomeError::Link` |
//! | dropped bid | `OutcomeError::DifferenceCount`, `BidCount` |
//! | outcome of another auction, of a bid that is not there, of another choice or pricing rule, with a cut award | `OtherAuction`, `NoSuchBid`, `ChoiceRule`, `PricingRule`, `AwardLength` |
//! | pay a step or a unit off, second score that nobody has, a tie that hides the distance to it, tampered or foreign proof of it | `OutcomeError::Setter` |
//! | remainder out of range | `OutcomeError::Range` |
//! | bid copied, replayed, with another's lock (as it is or times a factor), a rival's commitment less a tick, another `H`, lock and commitment that disagree | `BidError::Link`, `OtherAuction`, `OtherKey` |
//! | price above the cap or below zero, range proof of another auction | `BidError::Range` |
//! | station too far away, one bid too many | `BidError::NotEligible`, `Full` |
//! | wrong share, another validator's, another epoch's, of other bids; fewer than the threshold | `ReleaseError::WrongShare`, `Shape`, `OtherKey`, `TooFewShares` |
//! | edited intent, `pk` unproven, stolen or related to another's, `Q` that is no square, another `H` | `IntentError::Proof` |
//! | position outside the area, table out of range, out of order, too long, missing, unasked | `IntentError::PositionRange`, `Road` |
//! | identity or non-canonical point, scalar, number outside its range, unknown rule, cut or longer bytes | the decoder |
//! | `pk` used before, second outcome, late bid, two bids of a station, spent notes | the ledger |
//! | award sealed to another or for another auction, or that holds no rendezvous | `AwardError::Seal`, `Malformed`: the winner shows it by `Unreadable`, and the buyer's deposit is burned |
//! | award under a key off the curve or of small order | `OutcomeError::AwardKey` |
//! | a readable award called unreadable; another secret, message or lift revealed | `AwardError::Readable`, `Revealed` |
//! | a release before the deadline, any step before its turn | `RoleError::NotDue`, `WrongStep` |
//! | without infrastructure: late hash, second hash, hash under another's name, changed bid, bid off the roster, roster without a hash, two rosters, entry left out, a buyer that stops | `V2vError::LatePledge`, `PledgedTwice`, `PledgeSignature`, `ChangedBid`, `NotOnRoster`, `LeftOffRoster`, `TwoRosters`, `LeftOut`, `NoRoster`, `NoOutcome` |
//!
//! # Where a reviewer should look first
//!
//! 1. `outcome/statement.rs`: the differences, and the one relation that ties them to ledger bytes. Is there a way to
//!    leave a `V_n` out of `L`, or to have two forms cancel?
//! 2. The second score: forms, tie and setters together. Does "none negative, one zero" hold of the scores
//!    themselves?
//! 3. `key.rs`: `H = t*A`, never `t*G`; that whoever knows `t` still cannot open a commitment twice.
//! 4. `bid.rs`: one `r` in `C` and `D`. All of early opening hangs on it, and so does the committee's `t`: it raises
//!    only points to `t` whose logarithm to a proven `pk` somebody knows.
//! 5. Transcripts: everything public that a statement depends on is in before the first challenge. The position of a
//!    station and its table entry come from the ledger and the intent; the first is hashed in the outcome, the second
//!    by the auction's id.
//! 6. `group/range.rs`: chunks padded by their last commitment, the length fixed by the statement, coefficients of a
//!    batch from the transcripts.
//! 7. [`v2v`](crate::v2v): what a bidder checks before it sends its bid.
