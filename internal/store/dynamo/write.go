package dynamo

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/palier-ota/palier/internal/store"
)

// Write applies all ops or none.
//
// Anything under a condition is a transaction, a single op too: a transaction carries a token, by which DynamoDB
// recognises a request that it has already carried out. So a retry after a lost answer never finds its own change in
// its way and calls it a conflict. A single op without a condition is a plain request at half the price; repeating it
// leaves the same item.
func (s *Store) Write(ctx context.Context, ops ...store.Op) error {
	if err := store.CheckWrite(ops); err != nil {
		return err
	}
	ops = meaningful(ops)
	switch {
	case len(ops) == 0:
		return nil
	case transactional(ops):
		return s.transact(ctx, ops)
	case ops[0].Kind == store.OpDelete:
		return s.delete(ctx, ops[0].Item.Key)
	}
	return s.put(ctx, ops[0].Item)
}

// meaningful returns ops without those that check nothing.
func meaningful(ops []store.Op) []store.Op {
	kept := make([]store.Op, 0, len(ops))
	for _, op := range ops {
		if op.Kind != store.OpCheck || op.If.Split() >= 0 {
			kept = append(kept, op)
		}
	}
	return kept
}

// transactional reports whether ops need a transaction.
func transactional(ops []store.Op) bool {
	return len(ops) > 1 || len(ops) == 1 && ops[0].If.Split() >= 0
}

func (s *Store) put(ctx context.Context, item store.Item) error {
	out, err := s.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: s.table, Item: itemAttributes(item), ReturnConsumedCapacity: s.report(),
	}, s.configure)
	if err != nil {
		return fmt.Errorf("writing %s: %w", item.Key, classify(ctx, err))
	}
	if out.ConsumedCapacity != nil {
		s.writeUnits("PutItem", *out.ConsumedCapacity)
	}
	return nil
}

func (s *Store) delete(ctx context.Context, k store.Key) error {
	out, err := s.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: s.table, Key: keyAttributes(k), ReturnConsumedCapacity: s.report(),
	}, s.configure)
	if err != nil {
		return fmt.Errorf("deleting %s: %w", k, classify(ctx, err))
	}
	if out.ConsumedCapacity != nil {
		s.writeUnits("DeleteItem", *out.ConsumedCapacity)
	}
	return nil
}

// transact writes ops in one transaction, again and again until its outcome is certain or the attempts are used up.
func (s *Store) transact(ctx context.Context, ops []store.Op) error {
	input := s.transaction(ops)
	open := false // whether an attempt may have been carried out without our knowing
	for attempt := 1; ; attempt++ {
		if input.ClientRequestToken == nil {
			input.ClientRequestToken = aws.String(s.options.Token())
		}
		out, err := s.client.TransactWriteItems(ctx, input, once)
		if err == nil {
			s.writeUnits("TransactWriteItems", out.ConsumedCapacity...)
			return nil
		}
		became, failure := s.outcome(ctx, ops, err)
		open = open || became == lost
		if became == refused || attempt == s.options.Attempts {
			return fmt.Errorf("writing %s: %w", named(ops), admitted(failure, became, open))
		}
		if !open {
			input.ClientRequestToken = nil // DynamoDB may answer the same token with the same cancellation
		}
		if err := s.pause(ctx, attempt); err != nil {
			return fmt.Errorf("writing %s: %w: %w", named(ops), err, admitted(failure, became, open))
		}
	}
}

// once makes a request a single time: transact repeats transactions itself, because it depends on how one failed
// whether it keeps its token.
func once(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }

// admitted returns failure as what it means once the attempts are over: a conflict promises that nothing was written,
// which nobody knows when an earlier answer was lost.
func admitted(failure error, became outcome, open bool) error {
	if became == cancelled && open {
		return fmt.Errorf("%w: %v [an earlier answer was lost: it may have been written]", store.ErrUnavailable, failure)
	}
	return failure
}

// transaction returns the request that writes ops, without a token.
func (s *Store) transaction(ops []store.Op) *dynamodb.TransactWriteItemsInput {
	now := s.options.Now()
	items := make([]types.TransactWriteItem, len(ops))
	for i, op := range ops {
		g := s.guard(op.If, now)
		switch op.Kind {
		case store.OpPut:
			items[i].Put = &types.Put{
				TableName: s.table, Item: itemAttributes(op.Item),
				ConditionExpression: g.expression, ExpressionAttributeValues: g.values,
			}
		case store.OpDelete:
			items[i].Delete = &types.Delete{
				TableName: s.table, Key: keyAttributes(op.Item.Key),
				ConditionExpression: g.expression, ExpressionAttributeValues: g.values,
			}
		case store.OpCheck:
			items[i].ConditionCheck = &types.ConditionCheck{
				TableName: s.table, Key: keyAttributes(op.Item.Key),
				ConditionExpression: g.expression, ExpressionAttributeValues: g.values,
			}
		}
	}
	return &dynamodb.TransactWriteItemsInput{TransactItems: items, ReturnConsumedCapacity: s.report()}
}

// named says what a Write is about, for errors.
func named(ops []store.Op) string {
	if len(ops) == 1 {
		return ops[0].Item.Key.String()
	}
	return fmt.Sprintf("%s and %d more", ops[0].Item.Key, len(ops)-1)
}
