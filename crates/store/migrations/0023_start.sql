-- Every start of this node: how many times it had started, and which start that was (as `node.nonce`). By them it knows whether what told a neighbour
-- was a life that it forgot with a backup.
CREATE TABLE link_start (
    starts {{BIGINT}} PRIMARY KEY,
    nonce {{TEXT}} NOT NULL
);
INSERT INTO link_start (starts, nonce) SELECT starts, nonce FROM node WHERE relation = 'self' AND nonce IS NOT NULL;
