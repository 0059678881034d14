-- Topic statements: what a client's period came to, when it was asked for, sent or closed. Written by matching.
SET LOCAL ROLE log_owner;
SELECT log.add_topic('statements', 'plumbline_matching');
SELECT log.ensure_room();
RESET ROLE;
