# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What the steps of a call mean: as it should be or not, the likely cause, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .call_figures import Media
from .call_ice import answering
from .call_ipv6 import IPV6
from .call_media import Report, View, frames_per_second
from .call_sessions import SPEAKERS
from .call_tokens import TOKENS
from .checks import FAIL, WARN, Check, Fault, Outline
from .endpoint_discovery import (
    ENDPOINT_FAULTS,
    LIST_FAULTS,
    NO_DELAYED_EVENTS,
    announced_problem,
    transports_missing,
)
from .endpoint_media import (
    ADDRESS_FAULTS,
    OWN_STUN,
    SHUT_OUT,
    SILENCE,
    SWITCHED_OFF,
    address_problem,
    as_advertised,
    ports_of,
    reach_check,
    silence,
    stun_check,
)
from .endpoint_service import WEBSOCKET, websocket_check
from .endpoint_site import Site, livekit_urls
from .homeserver_kinds import DELAYED_EVENTS, LACKS, STATE_AFTER, by_owner, tolerated
from .matrix_client import Account, MatrixError
from .symptoms import (
    GHOST,
    LOST,
    NO_MEDIA,
    NO_PICTURE,
    NO_TRANSPORT,
    NOTHING,
    OLD_CLIENTS,
    STALE,
    UNSEEN,
)

CORRECT_USERS = "correct user_id or access_token in matrixrtc_probe_users"
BAD_TOKENS = Fault(
    "the homeserver does not take the access token of a probe user",
    "put valid tokens into matrixrtc_probe_users",
)
NO_HOMESERVER = Fault(
    "the client well-known does not say where the homeserver is",
    "see the check well_known_client",
    OLD_CLIENTS,
)
MIXED_UP = Fault("no token is that of {users}", CORRECT_USERS)
STRANGERS = Fault(
    "{users} is not a user of {server_name}",
    "use tokens of users of this server in matrixrtc_probe_users",
)
NO_DEVICE = Fault(
    "a token without a device cannot take part in calls",
    "use tokens from a login, not from an admin API or an application service",
)
ONE_DEVICE = Fault(
    "two tokens are of one device, which can be in a call once only",
    "use tokens of several users, or of several logins",
)
ACCOUNTS = Outline(
    "call_accounts",
    "Users for the call",
    "devices of users of this server",
    "identity",
    NOTHING,
    (BAD_TOKENS, NO_HOMESERVER, MIXED_UP, STRANGERS, NO_DEVICE, ONE_DEVICE),
)

OLD_WORKER = Fault("a homeserver worker runs on other settings", "restart all workers of Synapse")
ANNOUNCE_TOO = "announce {service_url} in the client well-known too (role well_known)"
NOT_IN_DOCUMENT = Fault("older clients read only the client well-known", ANNOUNCE_TOO, OLD_CLIENTS)
ONLY_DOCUMENT = Fault(
    "{homeserver} has no endpoint for transports, and the client well-known does not name our token service",
    "announce {service_url} in the client well-known (role well_known)",
)
DIFFERENT = Fault(
    "the two announcements differ: users of old and of new clients meet on different SFUs, or nowhere",
    ANNOUNCE_TOO,
    UNSEEN,
)
NO_TRANSPORTS = Fault("the homeserver refuses to name its transports", "see that {homeserver} runs")
DISCOVERY = Outline(
    "call_discovery",
    "Where users are sent",
    "the same URL from the homeserver and the client well-known",
    "announcement",
    NO_TRANSPORT,
    (OLD_WORKER, NOT_IN_DOCUMENT, ONLY_DOCUMENT, DIFFERENT, NO_TRANSPORTS, *LIST_FAULTS, *ENDPOINT_FAULTS),
)

NO_ROOM = Fault(
    "the homeserver does not let the probe users make or join a room",
    "use accounts that may create rooms; wait if a rate limit is named",
)
ROOM = Outline("call_room", "Throw-away room", "all users in a new room", "identity", NOTHING, (NO_ROOM,))

NO_STATE_AFTER = Fault(
    "experimental_features.msc4222_enabled is off in Synapse",
    "set it to true (role synapse_config) and restart Synapse",
)
STATE = Outline(
    "call_state_after",
    "State after the timeline",
    "state_after in an answer to /sync",
    "leave",
    STALE,
    (NO_STATE_AFTER, LACKS[STATE_AFTER]),
)

NO_MEMBERSHIP = Fault(
    "the homeserver refuses the membership or its delayed leave",
    "raise rc_message and rc_delayed_event_mgmt if a limit is named (role synapse_config)",
    LOST,
)
MEMBERSHIP = Outline(
    "call_membership",
    "Call memberships",
    "leaves scheduled, memberships written",
    "leave",
    GHOST,
    (NO_MEMBERSHIP, NO_DELAYED_EVENTS, LACKS[DELAYED_EVENTS]),
)

NO_CONNECTION = Fault(
    "the SFU answers strangers, but no media connection came about",
    "journalctl -u livekit -n 50; look for a filter that lets only small packets pass",
)
CONNECTED = Outline(
    "call_connected",
    "Connections to the SFU",
    "all participants connected",
    "media",
    NO_MEDIA,
    (SHUT_OUT, *WEBSOCKET.faults, *ADDRESS_FAULTS, *SILENCE, NO_CONNECTION),
)

NO_PACKETS = Fault(
    "no packet of the picture arrived at one of them",
    "see the check call_path; journalctl -u livekit -n 50",
    NO_MEDIA,
)
OTHER_PICTURE = Fault(
    "packets arrived, but not the picture that was sent: they are damaged or cannot be decrypted",
    "look for a middlebox that changes UDP payload, and for a modified SFU",
)
FEW_PACKETS = Fault(
    "frames are lost or late: a busy host, or a bad network between probe and SFU",
    "repeat the check from elsewhere; raise net.core.rmem_max on the RTC host",
    NOTHING,
)
VIDEO = Outline(
    "call_video",
    "Picture",
    "everybody recognises a picture that was sent",
    "media",
    NO_PICTURE,
    (NO_PACKETS, OTHER_PICTURE, FEW_PACKETS),
)
NO_SOUND = Fault("no sound arrived", NO_PACKETS.fix, NO_MEDIA)
OTHER_SOUND = Fault("sound arrived, but not the tone that was sent", NO_PACKETS.fix)
AUDIO = Outline(
    "call_audio",
    "Sound",
    "everybody hears a tone that was sent",
    "media",
    NO_PICTURE,
    (NO_SOUND, OTHER_SOUND),
)

SOME_UNSEEN = Fault(
    "the SFU does not pass everything on to everybody, or this host cannot take in so many pictures",
    "repeat with fewer matrixrtc_probe_participants, or from another host; look at the load of both hosts and"
    " at journalctl -u livekit -n 50; of a cluster see the checks of each node",
)
SIGHT = Outline(
    "call_sight",
    "Everybody with everybody",
    "everybody recognises the picture of each other participant",
    "media",
    NO_PICTURE,
    (SOME_UNSEEN,),
)

NOT_ENCRYPTED = Fault(
    "the SDK sent without encryption", "use the version of the LiveKit SDK that the documentation names"
)
NOT_TRIED = Fault("{reason}", "repeat the check")
READABLE = Fault(
    "media can be read without the keys: it is not encrypted end to end",
    "report this: the SDK or the SFU is not what it claims to be",
)
ENCRYPTION = Outline(
    "call_encryption",
    "End-to-end encryption",
    "somebody with other keys gets packets, but no picture and no sound",
    "media",
    NOTHING,
    (NOT_ENCRYPTED, READABLE, NOT_TRIED),
)

NO_PAIR = Fault(
    "the statistics name no selected candidate pair", "use the SDK that the documentation names", NOTHING
)
NO_ADVERTISEMENT = Fault(
    "the SFU's own list of addresses could not be read: {reason}", "repeat the check", NOTHING
)
OTHER_WAY = Fault(
    "the media does not go over {protocol}: {ports} is closed between probe and SFU, or lets"
    " nothing but the first packets pass",
    "open {ports} on the way",
)
TRANSLATED = Fault(
    "the advertised addresses answer, but the SFU's packets come from another one: it sends through"
    " an address translation, such as that of a container network",
    "let LiveKit use the host's network",
    NOTHING,
)
PATH = Outline(
    "call_path",
    "Way of the media",
    "an address that the SFU advertises and that answers strangers",
    "media",
    NO_MEDIA,
    (*ADDRESS_FAULTS, *SILENCE, SWITCHED_OFF, OWN_STUN, OTHER_WAY, TRANSLATED, NO_PAIR, NO_ADVERTISEMENT),
)

EARLY = Fault(
    "the leave was sent too early: the token service lost sight of a living participant, or cannot restart "
    "the delayed event",
    "journalctl -u lk-jwt-service; see the check host_delayed_leave",
    LOST,
)
UNTOLD = Fault(
    "the token service was not told that the user left: LiveKit sends no webhook, sends it elsewhere, or"
    " signs it with another key (then it is ignored without a word); or the token service cannot reach"
    " the homeserver",
    "run site.yml, which writes LiveKit's webhook; see the checks host_livekit_settings, host_credentials"
    " and host_delayed_leave; journalctl -u livekit | grep webhook",
)
NO_HOMESERVER_ANY_MORE = Fault("the homeserver does not answer any more", "see that Synapse runs", LOST)
LEAVE = Outline(
    "call_leave",
    "Leave after a break",
    "the membership is gone soon after the user vanished",
    "leave",
    GHOST,
    (UNTOLD, EARLY, NO_HOMESERVER_ANY_MORE, NO_DELAYED_EVENTS, LACKS[DELAYED_EVENTS]),
)
LEFTOVERS = Fault("a homeserver did not take everything back", "leave the room by hand with the probe users")
CLEANUP = Outline(
    "call_cleanup", "Clean-up", "nothing left on the homeserver", "leave", NOTHING, (LEFTOVERS,)
)
IN_ORDER = (
    ACCOUNTS,
    DISCOVERY,
    ROOM,
    STATE,
    MEMBERSHIP,
    TOKENS,
    CONNECTED,
    VIDEO,
    AUDIO,
    SIGHT,
    ENCRYPTION,
    PATH,
    LEAVE,
    IPV6,
    CLEANUP,
)

MUCH_LOSS = 0.05
FEW_FRAMES = 0.5  # of those that were sent
LEAST_TONE = 0.4  # seconds
TWO = 2  # of two participants, who sees anybody sees everybody


def in_order(checks: Sequence[Check], broken: str, participants: int) -> list[Check]:
    """All checks in their order; what was not reached is skipped and points to what broke the call."""
    done = {check.id: check for check in checks}
    why = f"not tried, because {broken} failed" if broken else "not tried"
    outlines = [outline for outline in IN_ORDER if participants > TWO or outline is not SIGHT]
    return [done.get(outline.id) or outline.skip(why) for outline in outlines]


def accounts_verdict(
    site: Site, accounts: Sequence[Account], user_ids: Sequence[str], sessions: int = 0
) -> Check:
    """Devices of this site's server, and of those users that were named, '' for anybody.

    `sessions`: how many more of the same accounts there are to be.
    """
    seen = ", ".join(f"{account.user_id} ({account.device_id or 'no device'})" for account in accounts)
    mixed = [
        user_id
        for user_id in user_ids
        if user_id and user_id not in [account.user_id for account in accounts]
    ]
    if mixed:
        return ACCOUNTS.fail(seen, MIXED_UP, users=", ".join(mixed))
    strangers = [account.user_id for account in accounts if account.server_name != site.server_name]
    if strangers:
        return ACCOUNTS.fail(seen, STRANGERS, users=", ".join(strangers), server_name=site.server_name)
    if any(not account.device_id for account in accounts):
        return ACCOUNTS.fail(seen, NO_DEVICE)
    if len({(account.user_id, account.device_id) for account in accounts}) < len(accounts):
        return ACCOUNTS.fail(seen, ONE_DEVICE)
    return ACCOUNTS.ok(f"{seen}, and {sessions} more sessions of them" if sessions else seen)


def discovery_verdict(
    site: Site, lists: Sequence[Sequence[object]], well_known: Sequence[str], error: MatrixError | None
) -> Check:
    """The homeserver tells both users of the token service that was deployed, and so does the well-known."""
    if error is not None:
        return undiscovered(site, well_known, error)
    told = [", ".join(livekit_urls(entries)) or "nothing" for entries in lists]
    elsewhere = ", ".join(well_known) or "nothing"
    seen = f"homeserver {' and '.join(sorted(set(told)))}, well-known {elsewhere}"
    if len(set(told)) > 1:
        return DISCOVERY.fail(seen, OLD_WORKER)
    problem = announced_problem(site, lists[0], DISCOVERY, seen)
    if problem:
        return problem
    if not well_known:
        return DISCOVERY.warn(seen, NOT_IN_DOCUMENT, service_url=site.service_url)
    if well_known[0] != site.service_url:
        return DISCOVERY.fail(seen, DIFFERENT, service_url=site.service_url)
    return DISCOVERY.ok(site.service_url)


def undiscovered(site: Site, well_known: Sequence[str], error: MatrixError) -> Check:
    """The homeserver names no transports; without the endpoint clients go by the client well-known."""
    missing = transports_missing(site, error.response, DISCOVERY)
    if missing is None:
        return DISCOVERY.fail(str(error), NO_TRANSPORTS, homeserver=site.kind.title)
    if missing.status == FAIL or (well_known and well_known[0] == site.service_url):
        return replace(missing, seen=str(error))
    seen = f"{error}; well-known {', '.join(well_known) or 'nothing'}"
    return DISCOVERY.fail(seen, ONLY_DOCUMENT, homeserver=site.kind.title, service_url=site.service_url)


def room_verdict(room_id: str, error: MatrixError | None) -> Check:
    """The room is there."""
    if error is None:
        return ROOM.ok(room_id)
    return ROOM.fail(str(error), NO_ROOM)


def state_verdict(site: Site, has_state: bool | None, error: MatrixError | None) -> Check:
    """Clients can learn who is in a call after they were away."""
    if error is not None or has_state is None:
        return STATE.skip(f"not seen: {error or 'the room is not in the answer to /sync'}")
    if has_state:
        return STATE.ok("state_after")
    missing = by_owner(STATE.fail("no state_after", NO_STATE_AFTER), site.homeserver_kind)
    return tolerated(missing, site.homeserver_kind, STATE_AFTER)


def membership_verdict(site: Site, delay: int, error: MatrixError | None) -> Check:
    """The memberships are written, with a way to end them."""
    if error is not None:
        return MEMBERSHIP.fail(str(error), NO_MEMBERSHIP)
    if not delay:
        return no_delayed_events(site, MEMBERSHIP, "no delayed events")
    return MEMBERSHIP.ok(f"leaves scheduled {delay // 1000} s ahead")


def no_delayed_events(site: Site, outline: Outline, seen: str) -> Check:
    """The warning that nothing ends the membership of somebody who crashes."""
    missing = by_owner(outline.fail(seen, NO_DELAYED_EVENTS), site.homeserver_kind)
    return replace(tolerated(missing, site.homeserver_kind, DELAYED_EVENTS), status=WARN)


def media_verdicts(
    site: Site, media: Media, seconds: float, force_tcp: bool, prove_encryption: bool
) -> list[Check]:
    """Everything about the media part."""
    site, protocol = as_advertised(site, media.survey.heard), "tcp" if force_tcp else "udp"
    connected = connected_verdict(site, media, protocol)
    if connected.status == FAIL:
        why = f"not tried, because {CONNECTED.id} failed"
        return [connected, *[outline.skip(why) for outline in (VIDEO, AUDIO, SIGHT, ENCRYPTION, PATH)]]
    speakers = media.reports[:SPEAKERS]
    return [
        connected,
        took(video_verdict(media.reports, seconds), [report.first_frame for report in media.reports]),
        took(audio_verdict(speakers), [report.first_tone for report in speakers]),
        *([sight_verdict(media)] if len(media.names) > TWO else []),
        encryption_verdict(media.reports, media.spy, prove_encryption),
        path_verdict(site, media, protocol),
    ]


def took(check: Check, times: Sequence[float]) -> Check:
    """A check with the time until all had something."""
    return replace(check, seconds=round(max(times), 3))


def connected_verdict(site: Site, media: Media, protocol: str) -> Check:
    """Everybody is in the SFU's room; if not, the address check tells why."""
    reports = media.reports
    broken = [report for report in reports if report.error]
    if not broken:
        latest = max(report.connected for report in reports)
        return took(CONNECTED.ok(f"after {latest:.2f} s"), [latest])
    seen = "; ".join(f"{report.name}: {report.error}" for report in broken)
    if media.survey.error:
        upgrade = websocket_check(site)
        seen = f"{seen}; {media.survey.error}"
        return CONNECTED.because(upgrade, seen) if upgrade.status == FAIL else CONNECTED.fail(seen, SHUT_OUT)
    problem = address_problem(media.survey.heard, site.media_addresses, CONNECTED, seen)
    if problem:
        return problem
    if not answering(media.survey.reaches, protocol):
        return silence(site, media.survey.reaches, protocol, CONNECTED, seen)
    return CONNECTED.fail(seen, NO_CONNECTION)


def video_verdict(reports: Sequence[Report], seconds: float) -> Check:
    """Each one recognised pictures often enough."""
    seen = "; ".join(
        f"{report.name} recognised {report.frames} of {report.frames + report.missed + report.strange}"
        f" frames, first after {report.first_frame:.2f} s"
        for report in reports
    )
    if any(report.frames == 0 and report.video.packets == 0 for report in reports):
        return VIDEO.fail(seen, NO_PACKETS)
    if any(report.frames == 0 for report in reports):
        return VIDEO.fail(seen, OTHER_PICTURE)
    others = len(reports) - 1
    wanted = seconds * frames_per_second(others) * others * FEW_FRAMES
    loss = max(report.video.loss for report in reports)
    if any(report.frames < wanted for report in reports) or loss > MUCH_LOSS:
        return VIDEO.warn(f"{seen}; loss {loss:.1%}", FEW_PACKETS)
    return VIDEO.ok(f"{seen}; loss {loss:.1%}")


def audio_verdict(reports: Sequence[Report]) -> Check:
    """Each one heard the others' tones, and little else."""
    seen = "; ".join(f"{report.name} heard the tone for {report.tone_seconds:.1f} s" for report in reports)
    if any(report.tone_seconds < LEAST_TONE for report in reports):
        other = any(report.other_sound_seconds for report in reports)
        return AUDIO.fail(seen, OTHER_SOUND if other else NO_SOUND)
    return AUDIO.ok(seen)


def sight_verdict(media: Media) -> Check:
    """Each one recognised every other, and if not, who whom."""
    blind: dict[str, list[str]] = {}
    times = []
    for report in media.reports:
        for identity, name in media.names.items():
            view = report.views.get(identity, View())
            times.append(view.first_frame)
            if name != report.name and not view.first_frame:
                blind.setdefault(report.name, []).append(name)
    if blind:
        seen = "; ".join(f"{name} does not see {', '.join(others)}" for name, others in blind.items())
        return SIGHT.fail(seen, SOME_UNSEEN)
    return took(SIGHT.ok(f"everybody sees each of the {len(media.names) - 1} others"), times)


def encryption_verdict(reports: Sequence[Report], spy: Report | None, wanted: bool) -> Check:
    """Media was encrypted end to end: flagged so by the senders, and useless without the keys."""
    plain = [report.name for report in reports if report.plain_tracks or not report.encrypted_tracks]
    if plain:
        seen = f"{', '.join(plain)} received media that is not marked as encrypted"
        return ENCRYPTION.fail(seen, NOT_ENCRYPTED)
    if not wanted:
        return ENCRYPTION.ok("marked as encrypted by all senders; not tried without the keys")
    if spy is None or spy.error or not spy.video.packets:
        reason = (spy.error if spy else "") or "no packets reached the one without the keys"
        seen = "marked as encrypted, but somebody without the keys could not listen in"
        return ENCRYPTION.warn(seen, NOT_TRIED, reason=reason)
    seen = (
        f"{spy.video.packets + spy.audio.packets} packets, {spy.frames} frames and {spy.tone_seconds:.1f} s"
        " of sound without the keys"
    )
    if spy.frames or spy.tone_seconds:
        return ENCRYPTION.fail(seen, READABLE)
    return ENCRYPTION.ok(seen)


def path_verdict(site: Site, media: Media, protocol: str) -> Check:
    """The media went to an address that the SFU itself named, one that also answers whoever speaks first."""
    paths = [path for report in media.reports for path in report.paths]
    seen = ", ".join(sorted({path.remote for path in paths})) or "no selected pair"
    if not all(report.paths for report in media.reports):
        return PATH.fail(seen, NO_PAIR)
    if media.survey.error:
        return PATH.warn(seen, NO_ADVERTISEMENT, reason=media.survey.error)
    problem = address_problem(media.survey.heard, site.media_addresses, PATH, seen)
    if problem:
        return problem
    closed = reach_check(site, media.survey, protocol)
    if closed.status == FAIL:
        return PATH.because(closed, f"{seen}; {closed.seen}")
    stun = stun_check(site, media.survey.heard)
    if stun.status == FAIL:
        return PATH.because(stun, f"{seen}; STUN {stun.seen}")
    if any(path.protocol != protocol for path in paths):
        return PATH.fail(seen, OTHER_WAY, protocol=protocol.upper(), ports=ports_of(site, protocol))
    advertised = {candidate.address for candidate in media.survey.heard.candidates}
    if any(path.remote_kind == "prflx" or path.remote_address not in advertised for path in paths):
        named = ", ".join(str(candidate) for candidate in media.survey.heard.candidates)
        return PATH.warn(f"{seen}; advertised {named}", TRANSLATED)
    return PATH.ok(f"{seen}; answers strangers too")


def leave_verdict(early: bool, stayed: float, limit: float, killed: bool) -> Check:
    """The token service noticed the break and sent the leave."""
    if early:
        return LEAVE.fail("the membership was gone while the call was still on", EARLY)
    if stayed < limit:
        return LEAVE.ok(f"gone {stayed:.1f} s after the user {'was killed' if killed else 'vanished'}")
    return LEAVE.fail(f"still there after {stayed:.0f} s", UNTOLD)


def cleanup_verdict(leftovers: Sequence[str]) -> Check:
    """Nothing stays on the homeserver."""
    if not leftovers:
        return CLEANUP.ok("nothing left")
    return CLEANUP.warn("; ".join(leftovers), LEFTOVERS)
