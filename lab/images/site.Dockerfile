# A server as an operator would have it: systemd, nginx, nftables, sshd, and Synapse laid out the way its own Debian
# package does it. Nothing of this collection is in it.
FROM BASE
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    netbase nginx nftables openssh-server openssl \
 && rm -rf /var/lib/apt/lists/* /etc/nginx/sites-enabled/default /usr/sbin/policy-rc.d
COPY wheels /wheels
RUN python3 -m venv --without-pip /opt/venvs/matrix-synapse \
 && /opt/venvs/matrix-synapse/bin/python "$(ls /wheels/pip-*.whl)/pip" install --quiet --no-index \
    --find-links /wheels --root-user-action=ignore matrix-synapse==SYNAPSE_VERSION \
 && rm -rf /wheels
COPY rootfs /
# 991: a fixed number, so that files put into a host before it boots can belong to the user.
RUN useradd --system --uid 991 --gid nogroup --home-dir /var/lib/matrix-synapse --no-create-home \
    --shell /usr/sbin/nologin matrix-synapse \
 && install -d -o matrix-synapse -g nogroup -m 0755 \
    /etc/matrix-synapse /etc/matrix-synapse/conf.d /var/lib/matrix-synapse /var/log/matrix-synapse \
 && systemctl enable nginx.service nftables.service ssh.service matrix-synapse.service \
 && systemctl mask apt-daily.timer apt-daily-upgrade.timer getty.target console-getty.service \
    dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-udevd.service systemd-logind.service \
 && truncate -s 0 /etc/machine-id
CMD ["/lib/systemd/systemd"]
