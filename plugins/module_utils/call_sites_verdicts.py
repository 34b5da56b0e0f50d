# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What came of a call between sites, site by site: who is affected, the likely cause, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .call_attendee import (
    CONNECTION,
    MEMBERSHIP,
    ROOM,
    STICKY,
    TOKEN,
    TRANSPORT,
    WIRING,
    Attendee,
    BrokenError,
    Home,
    place,
)
from .call_membership import COMPATIBILITY
from .call_sites_figures import Outcome, Trial, wait_for
from .call_verdicts import LEFTOVERS
from .checks import Check, Fault, Outline
from .endpoint_wiring import FAULTS, WIRING_REFUSED, fault
from .symptoms import (
    GHOST,
    LOST,
    NO_ACCESS,
    NO_SFU,
    NO_STICKY,
    NO_TRANSPORT,
    NO_WAY_BACK,
    NOTHING,
    REFUSED,
    UNSEEN,
)

NO_USERS = Fault(
    "the probe cannot speak for users of this site, so nobody of it is in the call",
    "see the site's own checks; put valid tokens into its matrixrtc_probe_users",
)
ACCOUNTS = Outline(
    "cross_accounts", "Users for the call", "users with a device each", "identity", NOTHING, (NO_USERS,)
)

# Why a user does not get into the call, by the step that failed.
LOST_ON_THE_WAY = {
    TRANSPORT: Fault(
        "the homeserver of {site} announces no SFU for its users to publish on",
        "run site.yml for {site} (role synapse_config), or have its owner announce its SFU",
        NO_TRANSPORT,
    ),
    STICKY: Fault(
        "the homeserver of {site} has no sticky events",
        "set synapse_config_sticky_events to true for {site}, or do not pin matrix_2_0",
        NO_STICKY,
    ),
    ROOM: Fault(
        "the homeserver of {site} does not get into the room: the homeservers do not reach each other",
        "see that they reach each other's federation port; journalctl -u matrix-synapse at {site}",
        UNSEEN,
    ),
    CONNECTION: Fault(
        "the SFU of {site} does not let its own users in",
        "see the site's own checks; journalctl -u livekit at {site}",
        NO_SFU,
    ),
    MEMBERSHIP: Fault(
        "the homeserver of {site} refuses the membership",
        "raise rc_message and rc_delayed_event_mgmt if a limit is named (role synapse_config)",
        LOST,
    ),
}
UNVERIFIED = Fault(
    "the token service of {site} cannot verify users of its own homeserver",
    "see the check openid_userinfo of {site}; journalctl -u lk-jwt-service there",
)
SFU_DOWN = Fault(
    "the SFU of {site} is down, or has other keys than its token service",
    "see the site's own checks; journalctl -u livekit at {site}; systemctl start livekit there",
)
NO_TOKEN = Fault(
    "the token service of {site} does not answer as it should",
    "see the site's own checks; journalctl -u lk-jwt-service at {site}",
    NO_ACCESS,
)
# Behind the homeserver a refusal is the wiring's; clients ask nowhere else.
WIRING_FAULTS = {known: replace(known, shows=NO_WAY_BACK) for known in (*FAULTS.values(), WIRING_REFUSED)}
JOIN = Outline(
    "cross_join",
    "Way into the call",
    "on the SFU of the own homeserver, with a membership that names it",
    "token",
    REFUSED,
    (*LOST_ON_THE_WAY.values(), UNVERIFIED, SFU_DOWN, NO_TOKEN, *WIRING_FAULTS.values()),
)

NO_EVENTS = Fault(
    "events of {there} do not reach {here}: federation is broken or very slow",
    "see that {there} reaches the federation port of {here}; journalctl -u matrix-synapse at both",
)
NO_TOKEN_BEHIND = Fault(
    "the homeserver of {here} gets no token for its users from that of {there}",
    "see the check homeserver_tokens of both; journalctl -u lk-jwt-service at both, {here} first",
)
UNVERIFIED_THERE = Fault(
    "the token service of {there} cannot verify users of {here}",
    "see that the RTC host of {there} reaches https://{here}/.well-known/matrix/server and the host"
    " in it; journalctl -u lk-jwt-service at {there}",
)
NOT_LET_IN = Fault(
    "users of {here} do not get onto the SFU of {there}",
    "see the checks of {there}; journalctl -u lk-jwt-service and -u livekit there",
)
NO_MEDIA_THERE = Fault(
    "media of {there} does not reach users of {here}",
    "see the check call_path of {there}; open its media ports to everybody, not only to its own users",
)
SLOW = Fault(
    "pictures take more than {limit} s: federation is slow, or a host busy",
    "repeat the check from elsewhere; look at the load of both homeservers",
    NOTHING,
)
WATCH = Outline(
    "cross_watch",
    "Sight of the others",
    "picture and tone of everybody, each on their own SFU",
    "media",
    UNSEEN,
    (NO_EVENTS, NO_TOKEN_BEHIND, UNVERIFIED_THERE, NOT_LET_IN, NO_MEDIA_THERE, SLOW),
)

MORE_THAN_A_SEAT = Fault(
    "the token service gives users of other homeservers something else than a seat to watch from",
    "use the version of the token service that this collection installs",
)
NOT_LISTED = Fault(
    "{visitor} is not in matrixrtc_full_access_homeservers of {site}, and its users can use this SFU for "
    "calls of their own",
    "run site.yml for {site}; see that livekit.yaml has room.auto_create: false and that the token service "
    "is 0.7 or newer",
)
LISTED = Fault(
    "{visitor} is in matrixrtc_full_access_homeservers of {site}, and its users may only watch: the token "
    "service runs on another list",
    "run site.yml for {site}",
    UNSEEN,
)
ACCESS = Outline(
    "cross_access",
    "What users of other sites may do",
    "what matrixrtc_full_access_homeservers says",
    "token",
    NOTHING,
    (NOT_LISTED, LISTED, MORE_THAN_A_SEAT),
)
NOT_SENT = Fault(
    "the token service of their site did not send the leave, or it did not get over federation",
    "see the check call_leave of that site",
)
LEAVE = Outline(
    "cross_leave",
    "Leave after a break",
    "gone at the other sites soon after the user vanished",
    "leave",
    GHOST,
    (NOT_SENT,),
)
CLEANUP = Outline(
    "cross_cleanup", "Clean-up", "nothing left on the homeservers", "leave", NOTHING, (LEFTOVERS,)
)

NO_ROOM = " 404 "  # how LiveKit answers whoever comes to a room that is not there, when it may not make one
OPENS = "opens a room"


def at_site(outline: Outline, home: Home) -> Outline:
    """A check about one site."""
    return replace(outline, id=f"{outline.id}:{home.server_name}")


def all_verdicts(outcome: Outcome) -> list[Check]:
    """Four checks for each site, then those about the call as a whole."""
    per_site: Sequence[Callable[[Outcome, Home], Check]] = (
        accounts_verdict,
        join_verdict,
        watch_verdict,
        access_verdict,
    )
    checks = [verdict(outcome, home) for home in outcome.homes for verdict in per_site]
    return [*checks, leave_verdict(outcome), cleanup_verdict(outcome.leftovers)]


def accounts_verdict(outcome: Outcome, home: Home) -> Check:
    """The site's users are who they should be."""
    outline = at_site(ACCOUNTS, home)
    if home.server_name in outcome.unknown:
        return outline.fail(outcome.unknown[home.server_name], NO_USERS)
    return outline.ok(", ".join(attendee.name for attendee in outcome.of(home)))


def join_verdict(outcome: Outcome, home: Home) -> Check:
    """The site's users publish on their own SFU, and their events say so."""
    outline = at_site(JOIN, home)
    users = outcome.of(home)
    broken = next((attendee for attendee in users if attendee.trouble), None)
    if broken is not None and broken.trouble is not None:
        affected = [attendee.name for attendee in users if not attendee.joined]
        seen = (
            f"{', '.join(affected)} {'is' if len(affected) == 1 else 'are'} not in the call: "
            f"{broken.trouble}."
            " The others go on among themselves"
        )
        return outline.fail(seen, join_fault(broken.trouble), site=home.server_name)
    if not users or not all(attendee.joined for attendee in users):
        return outline.skip("not tried, because there was no call")
    event = "state event" if outcome.mode == COMPATIBILITY else "sticky event"
    slowest = max(attendee.time_to_join for attendee in users)
    seen = (
        f"{', '.join(attendee.name for attendee in users)} on {place(users[0].service_url)}, with a {event}"
    )
    return replace(outline.ok(seen), seconds=round(slowest, 3))


def join_fault(trouble: BrokenError) -> Fault:
    """What keeps a user out of the call."""
    if trouble.step == WIRING:
        return WIRING_FAULTS[fault(trouble.status, trouble.code) or WIRING_REFUSED]
    if trouble.step != TOKEN:
        return LOST_ON_THE_WAY[trouble.step]
    return {401: UNVERIFIED, 500: SFU_DOWN}.get(trouble.status, NO_TOKEN)


def watch_verdict(outcome: Outcome, home: Home) -> Check:
    """The site's users see and hear everybody, wherever they publish."""
    outline = at_site(WATCH, home)
    users = [attendee for attendee in outcome.of(home) if attendee.joined]
    pairs = [(one, other) for one in users for other in outcome.inside if one is not other]
    if not users:
        return outline.skip(f"none of its users is in the call: see {at_site(JOIN, home).id}")
    if not pairs:
        return outline.skip("nobody else is in the call")
    blind = [(one, other) for one, other in pairs if not seen_and_heard(one, other)]
    if blind:
        seen = "; ".join(
            f"{one.name} does not see {other.name}: {missing(one, other)}" for one, other in blind
        )
        one, other = blind[0]
        return outline.fail(
            seen, watch_fault(one, other), there=other.home.server_name, here=one.home.server_name
        )
    slowest = max(wait_for(one, other) for one, other in pairs)
    seen = "; ".join(
        f"{other.name} on {place(url_of(one, other))}" for one, other in pairs if one is users[0]
    )
    seen = f"{seen}; first pictures after {slowest:.2f} s at most"
    check = outline.ok(seen)
    if slowest > outcome.first_frame_limit:
        check = outline.warn(seen, SLOW, limit=f"{outcome.first_frame_limit:.0f}")
    return replace(check, seconds=round(slowest, 3))


def seen_and_heard(one: Attendee, other: Attendee) -> bool:
    """Picture and tone of somebody else came."""
    view = one.view_of(other)
    return bool(view.first_frame and view.first_tone)


def url_of(one: Attendee, other: Attendee) -> str:
    """Where one looks for another, as their membership has it; '' when none came."""
    member = one.member_of(other)
    return member.service_url if member else ""


def missing(one: Attendee, other: Attendee) -> str:
    """What is missing for one to see another."""
    if one.blind:
        return one.blind
    if one.member_of(other) is None:
        return f"{one.home.server_name} never told of the membership"
    url = url_of(one, other)
    if url in one.refusals:
        return one.refusals[url]
    return f"nothing that could be recognised came from {place(url)}"


def watch_fault(one: Attendee, other: Attendee) -> Fault:
    """Why one does not see another."""
    if one.blind or one.member_of(other) is None:
        return NO_EVENTS
    refusal = one.refusals.get(url_of(one, other), "")
    if refusal and one.sfu_url and other.sfu_url:
        return NO_TOKEN_BEHIND
    if "401" in refusal:
        return UNVERIFIED_THERE
    return NOT_LET_IN if refusal else NO_MEDIA_THERE


def access_verdict(outcome: Outcome, home: Home) -> Check:
    """Users of other sites may do on this SFU what its list of full access says, and nothing else."""
    return rights_verdict(
        at_site(ACCESS, home), home, [trial for trial in outcome.trials if trial.home is home]
    )


def rights_verdict(outline: Outline, home: Home, trials: Sequence[Trial]) -> Check:
    """What came of trials on the SFU of a site; only told where nobody knows the list of full access."""
    outline = replace(outline, expected=expected_access(trials))
    tried = [trial for trial in trials if not trial.no_token]
    if not tried:
        reasons = "; ".join(trial.no_token for trial in trials)
        return outline.skip(f"not tried: {reasons or 'nobody of another site got as far as this'}")
    seen = "; ".join(f"{server_of(trial)}{way_of(trial)} {described(trial)}" for trial in tried)
    wrong = [trial for trial in tried if home.full_access and not as_listed(trial)]
    if not wrong:
        return outline.ok(seen)
    if wrong[0].behind:
        return outline.fail(seen, MORE_THAN_A_SEAT)
    visitor = server_of(wrong[0])
    power = LISTED if home.trusts(visitor) else NOT_LISTED
    return outline.fail(seen, power, visitor=visitor, site=home.server_name)


def described(trial: Trial) -> str:
    """What a trial brought to light."""
    refused = [power for power, has in tried_powers(trial).items() if not has]
    has = powers(trial)
    can = ", ".join(has) or "watches"
    if trial.behind and has == [OPENS]:
        can = "watches, in a room made for it"
    return f"{can} (and not: {', '.join(refused)})" if refused else can


def server_of(trial: Trial) -> str:
    """Whose user tried."""
    return trial.visitor.home.server_name


def way_of(trial: Trial) -> str:
    """By which way the user came, where that is not the token service itself."""
    return " through the homeservers" if trial.behind else ""


def expected_access(trials: Sequence[Trial]) -> str:
    """What the list of full access says, in words."""

    def told(trial: Trial) -> str:
        if trial.behind:
            return "watches only, in a room made for it"
        return "publishes and opens rooms" if trial.home.trusts(server_of(trial)) else "watches only"

    return "; ".join(f"{server_of(trial)}{way_of(trial)} {told(trial)}" for trial in trials)


def tried_powers(trial: Trial) -> dict[str, bool]:
    """What the user could do besides watching, or could not, as far as it could be tried."""
    tried = {"gets a token to publish": trial.granted}
    if trial.publish is not None:
        tried["publishes"] = trial.publish == ""
    if trial.room == "" or NO_ROOM in str(trial.room):
        tried[OPENS] = trial.room == ""
    return tried


def powers(trial: Trial) -> list[str]:
    """What the user could do besides watching."""
    return [power for power, has in tried_powers(trial).items() if has]


def as_listed(trial: Trial) -> bool:
    """The user has all powers or none, as the list of full access says.

    The list does not count for who comes through the homeservers: a seat to watch from, and the room is made.
    """
    trusted = trial.home.trusts(server_of(trial))
    return all(
        has == (power == OPENS if trial.behind else trusted) for power, has in tried_powers(trial).items()
    )


def leave_verdict(outcome: Outcome) -> Check:
    """The end of a membership reaches the other sites."""
    if outcome.stayed is None:
        return LEAVE.skip("not tried: it takes users of two sites in the call, and delayed events")
    if outcome.stayed < outcome.leave_timeout:
        gone = LEAVE.ok(f"{outcome.leaver} was gone after {outcome.stayed:.1f} s")
        return replace(gone, seconds=round(outcome.stayed, 3))
    return LEAVE.fail(f"{outcome.leaver} was still there after {outcome.stayed:.0f} s", NOT_SENT)


def cleanup_verdict(leftovers: Sequence[str]) -> Check:
    """Nothing stays on the homeservers."""
    if not leftovers:
        return CLEANUP.ok("nothing left")
    return CLEANUP.warn("; ".join(leftovers), LEFTOVERS)
