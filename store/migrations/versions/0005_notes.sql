-- It gives one column more; the new one is among the functions (store/sql).
drop function if exists stepwell.claim_step(uuid, uuid, int, uuid, boolean);
