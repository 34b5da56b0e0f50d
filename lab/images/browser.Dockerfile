# A caller's machine with a browser: Chromium as Debian has it, driven by Playwright.
FROM CLIENT
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    chromium fonts-dejavu-core libnss3-tools \
 && rm -rf /var/lib/apt/lists/*
COPY wheels /wheels
RUN /opt/probe/bin/python "$(ls /wheels/pip-*.whl)/pip" install --quiet --no-index \
    --find-links /wheels --root-user-action=ignore playwright==PLAYWRIGHT_VERSION \
 && rm -rf /wheels
CMD ["sleep", "infinity"]
