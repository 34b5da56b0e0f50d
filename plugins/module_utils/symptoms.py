# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What users see in Element Call when something is wrong: its words, its codes, and when.

Measured with Element Call 0.26.1, one broken part at a time, from the moment at which a user opens the call.
"""

from __future__ import annotations

from collections.abc import Mapping

NOTHING = ""
NO_TRANSPORT = '"Call is not supported", MISSING_MATRIX_RTC_TRANSPORT, after 5 s'
OLD_CLIENTS = "MISSING_MATRIX_RTC_TRANSPORT, but only in Element Call to 0.23, Element X to 26.08 and widgets"
REFUSED = '"Something went wrong", OPEN_ID_ERROR, after 5 s'
NO_ACCESS = '"Something went wrong", OPEN_ID_ERROR, after 35 s'
NO_WAY_BACK = "NO_MATRIX_2_0_AUTHORIZATION_SERVICE or OPEN_ID_ERROR"
RESTRICTED = '"Failed to create call", restricted to authorized users only, without a code, after 6 s'
NO_SFU = '"Failed to connect to Livekit server (Reason: ServerUnreachable)" or SFU_ERROR, after 5 s'
NO_MEDIA = (
    '"Waiting for media...", then "Failed to connect to Livekit server (Reason: InternalError)" or '
    "SFU_ERROR, "
    "after 22 s"
)
SOME_NO_MEDIA = '"Waiting for media...", but only for people whose network blocks UDP or TCP'
IPV6_ALONE = '"Waiting for media..." or SFU_ERROR, but only for people whose network has IPv6 alone'
NO_PICTURE = "tiles with names, and neither picture nor sound; no error"
LOST = '"Connection lost. You were disconnected from the call.", without a code, after 5 to 10 s'
NO_STICKY = "STICKY_EVENTS_NOT_SUPPORTED, in mode matrix_2_0 only"
UNSEEN = 'people of one server see those of another as "Waiting for media...", or not at all; no error'
GHOST = 'nothing in a call; but who crashes stays in it, as a tile that says "Waiting for media..."'
SHORT_LEAVE = "nothing as long as the phone is awake; one that sleeps for 18 s drops out of the call"
STALE = "people who left are still shown to a client that was away for a while"
NO_APP = "the web app does not open: an error of the browser, or an empty page or frame"

# What a person should know of each, in the order in which a call needs things.
SYMPTOMS: Mapping[str, str] = {
    NO_APP: "Only people who open Element Call by its own address see this; the homeserver's clients bring "
    "theirs.",
    NO_TRANSPORT: "The client asked its homeserver where calls go and was told nothing that it can use. A "
    "client keeps an empty answer for about a day: after the repair, log out and in, or clear its cache. "
    "Inside another client that refuses Element Call's question, the same comes after about 36 s of silent "
    "retries.",
    OLD_CLIENTS: "These clients read the client well-known of the server name, newer ones the homeserver's "
    "endpoint. Both should say the same.",
    REFUSED: "The name misleads: OPEN_ID_ERROR stands for everything that keeps a client from getting its "
    "LiveKit token. After 5 s the token service has answered, and refused: it cannot verify users, or "
    "cannot make rooms on the SFU. The answer's status in the browser's network tab, and journalctl -u "
    "lk-jwt-service, tell which.",
    NO_ACCESS: "The same code, after ten tries: the browser was not shown any answer. It cannot tell a "
    "stopped token service from a wrong route or a CORS header that comes twice; the checks can.",
    NO_WAY_BACK: "Only where the token service stands behind the homeserver.",
    NO_STICKY: "Only where somebody set this mode in Element Call's configuration.",
    RESTRICTED: "The token service gave a token for watching only. Users of other servers see this rightly, "
    "unless they are to be let in.",
    NO_SFU: "The token is there, the websocket to the SFU is not. Whoever came first sees this, the others "
    "see "
    '"Waiting for media...".',
    LOST: "The homeserver refuses the membership in the call. One more reason is none of the backend's: a "
    "room that leaves org.matrix.msc3401.call.member at state level 50, where only its moderators can join "
    "calls.",
    NO_MEDIA: "Signalling works, media does not find its way: an address or a port.",
    SOME_NO_MEDIA: "Hard to see from a desk: try from a mobile network, or look at the checks.",
    IPV6_ALONE: "Hard to see from a desk: most networks have both, and clients take whichever way works.",
    NO_PICTURE: "Packets arrive and cannot be shown.",
    UNSEEN: "Each server's users publish on their own SFU, so one side's fault is seen by the other side's "
    "users.",
    GHOST: "No test call shows this; the checks call_leave and host_delayed_leave do.",
    SHORT_LEAVE: "",
    STALE: "",
    NOTHING: "Element Call shows nothing of these, and they matter all the same: closed doors that are "
    "open, what will fail later, and what kept a check from being made.",
}
