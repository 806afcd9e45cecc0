-- may_decide: whether this person may say yes or no to a call.
--
-- A confirmation is for whoever asked for the job, or for an operator. An approval is for those who have
-- the role (all of them, where several are joined by ` & `), and never for the one who asked: whoever asks does not also say yes.
create or replace function stepwell.may_decide(
  p_tier text, p_role text, p_requester text, p_by text, p_roles text[]
) returns boolean language sql immutable as $$
  select case p_tier
    when 'confirm' then p_by is not distinct from p_requester or 'operator' = any (p_roles)
    else p_by is distinct from p_requester and (p_role is null or string_to_array(p_role, ' & ') <@ p_roles)
  end;
$$;
