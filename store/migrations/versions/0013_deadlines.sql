-- A job is never given more time than it was born with: a deadline is part of how it came to be, and what it hands
-- down is measured by it. It fires only for statements that name the deadline, which none of ours does.
create trigger deadline_is_kept
  before update of deadline_at on stepwell.jobs for each row
  when (old.deadline_at is not null and (new.deadline_at is null or new.deadline_at > old.deadline_at))
  execute function stepwell.keep_invocation();
