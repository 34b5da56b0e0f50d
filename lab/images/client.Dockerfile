# A caller's machine: a Python with the LiveKit SDK, and what a person needs to look around.
FROM BASE
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nftables openssl \
 && rm -rf /var/lib/apt/lists/* /usr/sbin/policy-rc.d
COPY wheels /wheels
RUN python3 -m venv --without-pip /opt/probe \
 && /opt/probe/bin/python "$(ls /wheels/pip-*.whl)/pip" install --quiet --no-index \
    --find-links /wheels --root-user-action=ignore livekit==LIVEKIT_SDK_VERSION numpy aioice \
 && rm -rf /wheels
CMD ["sleep", "infinity"]
